//! A mounted volume, from its start to its unmount.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use farshore_volume::Volume;
use fuser::{Config, Session, SessionACL};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::adapter::Adapter;
use crate::afterwards::Afterwards;
use crate::attach::{self, Access};
use crate::cache::Cache;
use crate::control::Control;
use crate::dispatch::Dispatcher;
use crate::invalidate::Invalidator;
use crate::kernel::{Kernel, KernelChannel};
use crate::mountpoint::{self, MountInfo};
use crate::options::MountOptions;

/// How often an unmount looks whether the last user has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long the kernel may take to fail what waits, once it was told to.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// Why a volume could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is nothing at the path.
    #[error("there is no directory {}; create it first", dir.display())]
    Missing {
        /// The path.
        dir: PathBuf,
    },
    /// Something else is at the path.
    #[error("{} is not a directory", dir.display())]
    NotDirectory {
        /// The path.
        dir: PathBuf,
    },
    /// The directory has entries, which a mount would hide.
    #[error("{} is not empty; mount over an empty directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// A volume is mounted there.
    #[error("a farshore volume is mounted on {} already; unmount it first", dir.display())]
    AlreadyMounted {
        /// The directory.
        dir: PathBuf,
    },
    /// The kernel's device cannot be opened.
    #[error("/dev/fuse cannot be opened: {source}; load the module `fuse` or give the container that device")]
    NoDevice {
        /// What opening it said.
        source: io::Error,
    },
    /// The kernel or its helper refused.
    #[error("mounting on {} was refused: {source}", dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// What was said.
        source: io::Error,
    },
    /// The path cannot be looked at.
    #[error("{} cannot be used as a mount point: {source}", dir.display())]
    Directory {
        /// The path.
        dir: PathBuf,
        /// What looking at it said.
        source: io::Error,
    },
    /// The mount stands, but does not answer.
    #[error("the mount on {} does not answer: {source}", dir.display())]
    Unanswered {
        /// The directory.
        dir: PathBuf,
        /// What asking it said.
        source: io::Error,
    },
    /// It cannot be unmounted.
    #[error("{} cannot be unmounted: {source}", dir.display())]
    Unmount {
        /// The directory.
        dir: PathBuf,
        /// What was said.
        source: io::Error,
    },
}

impl MountError {
    pub(crate) fn of_directory(dir: &Path, source: io::Error) -> Self {
        let dir = dir.to_path_buf();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { dir },
            ErrorKind::NotADirectory => Self::NotDirectory { dir },
            _ => Self::Directory { dir, source },
        }
    }

    pub(crate) fn refused(dir: &Path, source: io::Error) -> Self {
        Self::Refused { dir: dir.to_path_buf(), source }
    }
}

/// A mounted volume. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    info: MountInfo,
    invalidator: Invalidator,
    kernel: Arc<KernelChannel>,
    session: Option<JoinHandle<()>>,
    ended: watch::Receiver<bool>,
    grace: Duration,
}

impl Mount {
    /// Mounts `volume` on `dir`; the work of its requests is done on `runtime`, which must have
    /// more than one thread or be driven by another one. Returns once the mount answers.
    ///
    /// It blocks for a moment: in async code, call it through `spawn_blocking`.
    ///
    /// # Errors
    /// Why the directory cannot be mounted over, or what the kernel refused. Nothing is mounted then.
    pub fn start(
        volume: Arc<Volume>,
        dir: &Path,
        options: MountOptions,
        control: Arc<dyn Control>,
        runtime: Handle,
    ) -> Result<Self, MountError> {
        let dir = mountpoint::prepare(dir, options.allow_non_empty)?;
        let access = Access { read_only: volume.read_only(), allow_other: options.allow_other };
        let device = attach::attach(&dir, access)?;
        let request_bytes = options.request_bytes;
        let mount = match serve(volume, &dir, device, options, control, runtime) {
            Ok(mount) => mount,
            Err(source) => {
                take_away(&dir);
                return Err(MountError::Unanswered { dir, source });
            }
        };
        mountpoint::raise_read_ahead(&mount.info, request_bytes);
        // A failure drops the mount, which unmounts it.
        rustix::fs::statfs(&dir).map_err(|errno| MountError::Unanswered { dir: dir.clone(), source: errno.into() })?;
        std::fs::metadata(&dir).map_err(|source| MountError::Unanswered { dir: dir.clone(), source })?;
        tracing::info!(dir = %dir.display(), read_only = access.read_only, "mounted");
        Ok(mount)
    }

    /// Where it is mounted, without symlinks.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its device, `major:minor`, as `/proc/self/mountinfo` has it.
    pub fn device(&self) -> &str {
        &self.info.device
    }

    /// What tells this mount's kernel of changes that the log brought.
    pub fn invalidator(&self) -> Invalidator {
        self.invalidator.clone()
    }

    /// Returns when the mount has ended, by whomever.
    pub async fn wait(&self) {
        let mut ended = self.ended.clone();
        // An error means that the session's thread is gone, which is an end too.
        let _gone = ended.wait_for(|ended| *ended).await;
    }

    /// Unmounts. Where files are still open the name goes at once and the rest when they are closed;
    /// those who have not closed them within `unmount_grace` get errors. It blocks for no
    /// longer than that and the requests' own deadlines.
    ///
    /// # Errors
    /// What the kernel said, when it did not let the directory go.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), MountError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        if self.is_mounted() {
            self.detach()?;
        }
        if !finished(&session, self.grace) {
            tracing::warn!(dir = %self.dir.display(), "files of the mount are still open; their users get errors now");
            if let Err(error) = mountpoint::abort(&self.info) {
                tracing::debug!(%error, "the connection cannot be aborted; it ends with this process");
            }
        }
        if finished(&session, ABORT_TIME) && session.join().is_err() {
            tracing::error!("the thread that served the mount panicked");
        }
        Ok(())
    }

    /// True unless the directory was unmounted, or another mount stands there now. That one may have
    /// our device number, but not while our connection lives.
    fn is_mounted(&self) -> bool {
        let ours = |info: MountInfo| info.device == self.info.device;
        MountInfo::of(&self.dir).is_ok_and(|info| info.is_some_and(ours)) && self.kernel.is_connected()
    }

    fn detach(&self) -> Result<(), MountError> {
        let failed = |source| MountError::Unmount { dir: self.dir.clone(), source };
        match attach::detach(&self.dir, false) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                tracing::warn!(dir = %self.dir.display(), "the mount is in use; it goes away when its users do");
                attach::detach(&self.dir, true).map_err(failed)
            }
            Err(_) if !self.is_mounted() => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the mount stays behind");
        }
    }
}

fn finished(session: &JoinHandle<()>, within: Duration) -> bool {
    let begin = Instant::now();
    while !session.is_finished() {
        if begin.elapsed() >= within {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

fn take_away(dir: &Path) {
    if let Err(error) = attach::detach(dir, true) {
        tracing::warn!(dir = %dir.display(), %error, "a mount that failed to start stays behind");
    }
}

/// Answers the kernel's INIT and begins to serve.
fn serve(
    volume: Arc<Volume>,
    dir: &Path,
    device: OwnedFd,
    options: MountOptions,
    control: Arc<dyn Control>,
    runtime: Handle,
) -> io::Result<Mount> {
    let info = MountInfo::of(dir)?.ok_or_else(|| io::Error::other("the kernel does not list it"))?;
    let kernel = Arc::new(KernelChannel::new(device.try_clone()?));
    let (cache, afterwards) = (Arc::new(Cache::new(options.cache)), Arc::new(Afterwards::default()));
    let grace = options.unmount_grace;
    let (config, acl) = session_config(&options);
    let adapter = Adapter {
        volume: Arc::clone(&volume),
        control,
        cache: Arc::clone(&cache),
        afterwards: Arc::clone(&afterwards),
        dispatcher: Dispatcher::new(runtime),
        options,
    };
    let session = Session::from_fd(adapter, device, acl, config)?;
    let (ended_sender, ended) = watch::channel(false);
    let session = spawn_session(session, Arc::clone(&kernel), afterwards, ended_sender)?;
    let invalidator = Invalidator::new(Some(volume), cache, Arc::clone(&kernel) as Arc<dyn Kernel>);
    Ok(Mount { dir: dir.into(), info, invalidator, kernel, session: Some(session), ended, grace })
}

fn session_config(options: &MountOptions) -> (Config, SessionACL) {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = true;
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    let acl = config.acl;
    (config, acl)
}

/// Starts the thread that reads requests, or waits for those that do, and the one that tells the kernel
/// what it must forget of its own changes. Both end with the mount.
fn spawn_session(
    session: Session<Adapter>,
    channel: Arc<KernelChannel>,
    afterwards: Arc<Afterwards>,
    ended: watch::Sender<bool>,
) -> io::Result<JoinHandle<()>> {
    let (queue, kernel) = (Arc::clone(&afterwards), Arc::clone(&channel) as Arc<dyn Kernel>);
    thread::Builder::new().name("mount-forget".into()).spawn(move || queue.run(&kernel))?;
    let serve = move || {
        if let Err(error) = session.run() {
            tracing::error!(%error, "serving the mount failed");
        }
        channel.close();
        afterwards.close();
        ended.send_replace(true);
    };
    thread::Builder::new().name("mount".into()).spawn(serve)
}
