//! The machine that everything runs on: what it is, and its kernel's caches.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::StoreKind;
use crate::programs::Programs;

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// What a reader of the figures must know of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) lines: Vec<String>,
}

impl Machine {
    pub(crate) fn look(home: &Path, store: StoreKind, programs: &Programs) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory =
            field("/proc/meminfo", "MemTotal").and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let uname = rustix::system::uname();
        let store = match store {
            StoreKind::File => "a local directory",
            StoreKind::S3 => "SeaweedFS on the same machine",
        };
        let mut lines = vec![
            format!(
                "{cores} cores ({})",
                field("/proc/cpuinfo", "model name").unwrap_or_else(|| uname.machine().to_string_lossy().into_owned())
            ),
            format!("{} GiB of memory", memory.unwrap_or(0) >> 20),
            format!("Linux {}", uname.release().to_string_lossy()),
            format!("everything on {}; the volumes' store: {store}", filesystem(home)),
        ];
        if let Ok(time) = sync_time(home) {
            lines.push(format!("an fdatasync of 4 KiB takes {:.2} ms (median)", time.as_secs_f64() * 1e3));
        }
        lines.extend(programs.versions());
        Self { lines }
    }
}

/// The median time in which the disk takes an appended page for good: the floor of every
/// operation that is durable before it is answered.
fn sync_time(home: &Path) -> Result<Duration> {
    const SYNCS: usize = 51;
    let path = home.join("sync-time");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[1; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort();
    Ok(times[SYNCS / 2])
}

/// The first value of a field in a file of lines `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

/// The kind of filesystem at a path: the native peer is only as good as its name.
fn filesystem(path: &Path) -> String {
    const EXT4: i64 = 0xEF53;
    match rustix::fs::statfs(path) {
        Ok(found) if found.f_type == EXT4 => "ext4".to_owned(),
        Ok(found) => format!("a filesystem that is NOT ext4 (statfs type {:#x})", found.f_type),
        Err(error) => format!("an unknown filesystem ({error})"),
    }
}

/// Fails where caches cannot be dropped, and so nothing cold can be measured.
pub(crate) fn check_privileges() -> Result<()> {
    if File::options().write(true).open(DROP_CACHES).is_err() {
        bail!("the kernel's caches cannot be dropped (no right to write {DROP_CACHES}); run this as root");
    }
    Ok(())
}

/// Writes back what the filesystem of `path` has in memory, so that the next thing measured does
/// not pay for the last.
pub(crate) fn settle(path: &Path) -> Result<()> {
    let dir = File::open(path)?;
    rustix::fs::syncfs(&dir).with_context(|| format!("cannot sync {}", path.display()))
}

/// Makes the kernel forget clean pages, names and attributes.
pub(crate) fn drop_caches() -> Result<()> {
    fs::write(DROP_CACHES, "3\n").with_context(|| format!("cannot write {DROP_CACHES}"))
}
