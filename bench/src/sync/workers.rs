//! `farshore-bench workers`: one job, done by 1, 2 and 4 workers.
//!
//! Each worker is held to a share of a core, as if it ran on a small machine of its own. So the figures tell what
//! working together costs, and not how many cores this machine has; the coordinator and the kernel have the rest.
//! The jobs are long beside what a worker needs to start, which is about a second of such a share.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use super::{note, plant, remove};
use crate::machine::Machine;
use crate::options::StoreKind;
use crate::programs::Programs;
use crate::samples::median;
use crate::server::Server;
use crate::store::answers;
use crate::table::{aligned, number};

/// Where control groups of the first kind, and of the second, are.
const FIRST_KIND: &str = "/sys/fs/cgroup/cpu";
const SECOND_KIND: &str = "/sys/fs/cgroup";
/// In how much time a share is counted: short, so that a worker is slow rather than stopped.
const PERIOD_US: u32 = 10_000;
/// Longest that a job may take.
const LIMIT: Duration = Duration::from_mins(20);

/// What `farshore-bench workers` can be told.
#[derive(Debug, Args)]
pub(crate) struct WorkersOptions {
    /// How many workers a job has
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
    workers: Vec<usize>,
    /// How often to measure everything
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Objects of 1 KiB
    #[arg(long, default_value_t = 100_000)]
    small: u32,
    /// Objects of 1 MiB
    #[arg(long, default_value_t = 4_000)]
    large: u32,
    /// The share of a core that each worker has, in percent
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// Where everything is put while it runs; the system's temporary directory without it
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A control group that holds its processes to a share of a core. It is removed when this value goes.
struct Share {
    group: PathBuf,
}

/// Measures everything below `home`; the table, as Markdown.
pub(crate) fn measure(options: &WorkersOptions, home: &Path) -> Result<String> {
    let mut lines = vec![["what", "workers", "s", "objects/s", "times as fast as one"].map(str::to_owned).to_vec()];
    let trees = [("1 KiB", options.small, 1 << 10), ("1 MiB", options.large, 1 << 20)];
    for (title, count, bytes) in trees.into_iter().filter(|(_, count, _)| *count > 0) {
        let tree = home.join("source");
        plant(&tree, count, bytes)?;
        let mut times = vec![Vec::new(); options.workers.len()];
        for round in 1..=options.rounds {
            for (workers, times) in options.workers.iter().zip(&mut times) {
                note(&format!("round {round}/{}: {count} x {title}, {workers} workers", options.rounds));
                times.push(run(&tree, home, *workers, options.share)?.as_secs_f64());
            }
        }
        let times: Vec<f64> = times.into_iter().map(|times| median(times).unwrap_or_default()).collect();
        for (workers, seconds) in options.workers.iter().zip(&times) {
            let what = format!("{count} x {title}, local to local");
            let speed = format!("{:.2}", times[0] / seconds);
            lines.push(vec![what, workers.to_string(), number(*seconds), number(f64::from(count) / seconds), speed]);
        }
        remove(&tree)?;
    }
    let machine = Machine::look(home, StoreKind::File, &Programs::find());
    let head = format!("Machine: {}; each worker has {} % of a core.\n\n", machine.lines.join("; "), options.share);
    Ok(head + &aligned(&lines))
}

/// What a job takes from when its workers start.
fn run(tree: &Path, home: &Path, workers: usize, share: u32) -> Result<Duration> {
    let farshore = Programs::find().farshore.context("farshore was not found beside this program")?;
    let (target, address) = (home.join("target"), format!("127.0.0.1:{}", farshore_ports::free()));
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).context("an address has a port")?;
    let mut command = Command::new(&farshore);
    command.arg("sync").args([tree, &target]).args(["--coordinator", &address, "--workers", "0", "--fsync", "batch"]);
    command.args(["--journal".as_ref(), home.join("journal").as_os_str()]);
    let mut coordinator = Server::start(&command, &home.join("coordinator.log"))?;
    coordinator.wait_until("the coordinator", || answers(port))?;
    let shares = (0..workers).map(|number| Share::new(number, share)).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let mut team = Vec::new();
    for share in &shares {
        let mut command = share.command(&farshore);
        command.args(["sync-worker", &address]);
        team.push(Server::start(&command, &home.join("worker.log"))?);
    }
    coordinator.finish(LIMIT)?;
    let took = begun.elapsed();
    team.iter_mut().try_for_each(|worker| worker.finish(LIMIT))?;
    drop((team, shares));
    remove(&target)?;
    Ok(took)
}

impl Share {
    fn new(number: usize, percent: u32) -> Result<Self> {
        let name = format!("farshore-bench-{}-{number}", std::process::id());
        let quota_us = PERIOD_US * percent / 100;
        let (group, settings) = if Path::new(FIRST_KIND).is_dir() {
            let settings =
                vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota_us.to_string())];
            (Path::new(FIRST_KIND).join(name), settings)
        } else {
            set(Path::new(SECOND_KIND), "cgroup.subtree_control", "+cpu")?;
            (Path::new(SECOND_KIND).join(name), vec![("cpu.max", format!("{quota_us} {PERIOD_US}"))])
        };
        fs::create_dir(&group).with_context(|| format!("cannot make the control group {}", group.display()))?;
        let share = Self { group };
        settings.iter().try_for_each(|(file, value)| set(&share.group, file, value))?;
        Ok(share)
    }

    /// A command that has this share from its first step on.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]).arg(self.group.join("cgroup.procs")).arg(program);
        command
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Its processes may take a moment to be gone; one that stays is empty and harmless.
        for _ in 0..100 {
            match fs::remove_dir(&self.group) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
    }
}

fn set(group: &Path, file: &str, value: &str) -> Result<()> {
    let path = group.join(file);
    fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
}
