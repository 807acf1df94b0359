//! What frees a mount whose killed process cannot end, run by a process of its own.
//!
//! Telling the kernel of a change waits for a lookup under way in that directory. A process that is
//! killed at that very moment keeps the thread that waits, and with it the connection, which only it
//! could have answered: nothing of it ends any more. Aborting the connection lets all of it go.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Pid;

use crate::attach;
use crate::mountpoint::{self, MountInfo};

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The state that `/proc` shows of a thread which has ended.
const ENDED: char = 'Z';

/// Watches over a mount of another process.
#[derive(Debug)]
pub struct Guard<'a> {
    /// The process behind the mount, which must be the parent of this one.
    pub process: Pid,
    /// Where it is mounted.
    pub dir: &'a Path,
    /// The mount's device, `major:minor`.
    pub device: &'a str,
}

/// What has become of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It runs.
    Alive,
    /// It was killed, and the kernel keeps threads of it.
    Kept,
    /// It is no more, and the kernel has closed all that it had open.
    Gone,
}

impl Guard<'_> {
    /// Returns once the process has ended, whatever it takes.
    pub fn watch(&self) {
        let mut kept_before = false;
        loop {
            thread::sleep(LOOK);
            match self.fate() {
                Fate::Alive => kept_before = false,
                Fate::Gone => return,
                // A process that ends takes a moment over it.
                Fate::Kept if !kept_before => kept_before = true,
                Fate::Kept => self.free(),
            }
        }
    }

    fn fate(&self) -> Fate {
        if rustix::process::getppid() != Some(self.process) {
            return Fate::Gone;
        }
        let leader = self.process.as_raw_nonzero().get();
        let threads = std::fs::read_dir(format!("/proc/{leader}/task")).into_iter().flatten().flatten();
        let states = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        let ended: Vec<bool> = states.map(|stat| state_of(&stat) == Some(ENDED)).collect();
        let leader = std::fs::read_to_string(format!("/proc/{leader}/stat"));
        fate_of(leader.ok().as_deref().and_then(state_of), &ended)
    }

    fn free(&self) {
        match free(self.dir, self.device) {
            Ok(()) => tracing::warn!(dir = %self.dir.display(), "freed the mount of a killed process"),
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "a killed process keeps its mount; umount -f it");
            }
        }
    }
}

/// Of a process whose leading thread is in state `leader`, none if it is not there, and whose
/// threads, the leading one among them, have ended or not.
fn fate_of(leader: Option<char>, ended: &[bool]) -> Fate {
    match leader {
        None => Fate::Gone,
        Some(ENDED) if ended.iter().all(|ended| *ended) => Fate::Gone,
        Some(ENDED) => Fate::Kept,
        Some(_) => Fate::Alive,
    }
}

/// The state in a `stat` of `/proc`: what follows the name, which may itself hold anything.
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Fails all that waits for the mount's answers, if it is still that mount. Many containers lack the
/// control filesystem; there only root can, by an unmount that does not ask.
fn free(dir: &Path, device: &str) -> io::Result<()> {
    let found = MountInfo::of(dir)?.filter(|info| info.device == device);
    let info = found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "it is not mounted there any more"))?;
    mountpoint::abort(&info).or_else(|_| attach::force(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_kept_when_its_leader_has_ended_and_another_thread_has_not() {
        assert_eq!(fate_of(Some('S'), &[false, false]), Fate::Alive);
        assert_eq!(fate_of(Some('Z'), &[true, false]), Fate::Kept);
        assert_eq!(fate_of(Some('Z'), &[true]), Fate::Gone);
        assert_eq!(fate_of(None, &[]), Fate::Gone);
    }

    #[test]
    fn a_state_is_found_behind_any_name() {
        assert_eq!(state_of("12 (a) b) D 1 2"), Some('D'));
        assert_eq!(state_of("nonsense"), None);
    }

    #[test]
    fn this_process_is_alive_and_no_mount_of_it_is_freed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path(), "0:1").is_err());
    }
}
