//! Writers that remember what must be there whatever is killed, and check it afterwards.
//!
//! A writer owns a directory. It makes, extends, renames and removes files, one call after the
//! other, and counts a change only once the call, and the fsync where bytes are concerned, has
//! returned. The change that a kill interrupts may have happened or not.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Files that a writer keeps; above it more are removed than made.
const FILES: usize = 60;

/// Bytes that are the same for the same seed, of any length.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// What a file surely holds: the first `len` bytes of its seed's.
#[derive(Debug, Clone, Copy)]
struct Known {
    seed: u64,
    len: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Make(String, Known),
    Extend(String, Known, usize),
    Rename(String, String),
    Remove(String),
}

/// A writer at rest.
pub(crate) struct Writer {
    dir: PathBuf,
    rng: StdRng,
    made: u64,
    files: BTreeMap<String, Known>,
    in_doubt: Option<Change>,
}

/// A writer at work, until told to stop or until a call fails.
pub(crate) struct Working {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Writer>,
}

impl Writer {
    /// A writer in the directory `dir`, which it makes.
    pub(crate) fn new(dir: PathBuf, seed: u64) -> Self {
        fs::create_dir(&dir).expect("the writer's directory can be made");
        let rng = StdRng::seed_from_u64(seed);
        Self { dir, rng, made: 0, files: BTreeMap::new(), in_doubt: None }
    }

    /// Works on a thread of its own; `count` goes up with every change.
    pub(crate) fn start(mut self, count: &Arc<AtomicU64>) -> Working {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, count) = (Arc::clone(&stop), Arc::clone(count));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) && self.step().is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            self
        });
        Working { stop, thread }
    }

    /// Makes one change.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        let change = self.choose();
        self.in_doubt = Some(change.clone());
        self.carry_out(&change)?;
        self.in_doubt = None;
        self.count(change);
        Ok(())
    }

    fn choose(&mut self) -> Change {
        let many = self.files.len() > FILES;
        let some = self.some_file();
        match (self.rng.random_range(0..100), some) {
            (0..40, Some(name)) if many => Change::Remove(name),
            (0..15, Some(name)) => Change::Rename(name, self.new_name()),
            (15..25, Some(name)) => Change::Remove(name),
            (25..45, Some(name)) => {
                let known = self.files[&name];
                Change::Extend(name, known, self.rng.random_range(1..20_000))
            }
            _ => Change::Make(self.new_name(), self.new_contents()),
        }
    }

    fn some_file(&mut self) -> Option<String> {
        let count = self.files.len();
        (count > 0).then(|| self.rng.random_range(0..count)).and_then(|at| self.files.keys().nth(at).cloned())
    }

    fn new_name(&mut self) -> String {
        self.made += 1;
        format!("file-{}", self.made)
    }

    fn new_contents(&mut self) -> Known {
        let largest = [300, 4_000, 60_000, 300_000, 2_000_000][self.rng.random_range(0..5)];
        Known { seed: self.rng.next_u64(), len: self.rng.random_range(0..largest) }
    }

    fn carry_out(&self, change: &Change) -> io::Result<()> {
        let path = |name: &String| self.dir.join(name);
        match change {
            Change::Make(name, known) => {
                let mut file = File::create_new(path(name))?;
                file.write_all(&bytes(known.seed, known.len))?;
                file.sync_all()
            }
            Change::Extend(name, known, more) => {
                let mut file = OpenOptions::new().append(true).open(path(name))?;
                file.write_all(&bytes(known.seed, known.len + more)[known.len..])?;
                file.sync_all()
            }
            Change::Rename(from, to) => fs::rename(path(from), path(to)),
            Change::Remove(name) => fs::remove_file(path(name)),
        }
    }

    fn count(&mut self, change: Change) {
        match change {
            Change::Make(name, known) => {
                self.files.insert(name, known);
            }
            Change::Extend(name, known, more) => {
                self.files.insert(name, Known { len: known.len + more, ..known });
            }
            Change::Rename(from, to) => {
                let known = self.files.remove(&from).expect("a known file is renamed");
                self.files.insert(to, known);
            }
            Change::Remove(name) => {
                self.files.remove(&name);
            }
        }
    }

    /// Asserts that everything that was counted is in the directory, and nothing else but the
    /// change that was interrupted. What that change left is looked at, and counted or cleared away.
    pub(crate) fn check(&mut self) {
        if let Some(change) = self.in_doubt.take() {
            self.settle(change);
        }
        let found: Vec<_> = listed(&self.dir);
        let known: Vec<_> = self.files.keys().cloned().collect();
        assert_eq!(found, known, "names in {}", self.dir.display());
        for (name, known) in &self.files {
            let held = fs::read(self.dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(held.len(), known.len, "length of {name}");
            assert!(held == bytes(known.seed, known.len), "contents of {name}");
        }
    }

    fn settle(&mut self, change: Change) {
        let is_there = |name: &String| self.dir.join(name).exists();
        match &change {
            Change::Make(name, known) => {
                if is_there(name) {
                    self.assert_begins(name, *known, 0);
                    fs::remove_file(self.dir.join(name)).expect("what was half made can be removed");
                }
            }
            Change::Extend(name, known, more) => {
                self.assert_begins(name, Known { len: known.len + more, ..*known }, known.len);
                fs::remove_file(self.dir.join(name)).expect("what was half extended can be removed");
                self.files.remove(name);
            }
            Change::Rename(from, to) => {
                assert_ne!(is_there(from), is_there(to), "a rename happens or not: {from} to {to}");
                if is_there(to) {
                    self.count(change);
                }
            }
            Change::Remove(name) => {
                if !is_there(name) {
                    self.count(change);
                }
            }
        }
    }

    /// Asserts that a file holds at least `surely` bytes, and nothing that was never written.
    /// Bytes between what was stored and a later write may be a hole.
    fn assert_begins(&self, name: &str, known: Known, surely: usize) {
        let mut held = Vec::new();
        let mut file = File::open(self.dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        file.read_to_end(&mut held).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = bytes(known.seed, known.len);
        assert!(held.len() >= surely && held.len() <= written.len(), "{name} has {} bytes", held.len());
        assert!(held[..surely] == written[..surely], "{name} lost bytes that were synced");
        let same = held.iter().zip(&written).skip(surely).all(|(held, written)| held == written || *held == 0);
        assert!(same, "{name} holds bytes that were never written");
    }
}

impl Working {
    pub(crate) fn is_working(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Tells it to stop and waits until it has.
    pub(crate) fn stop(self) -> Writer {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer does not panic")
    }
}

fn listed(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort_unstable();
    names
}
