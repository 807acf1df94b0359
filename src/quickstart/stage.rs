//! The directory in which a quickstart plays: what is where, starting and clearing away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::exit::{Exit, Failure};
use crate::output::say;
use crate::{control_names, mounted};

/// Marks a directory as a quickstart's own: only such a directory is ever removed.
const MARKER: &str = ".farshore-quickstart";

/// Where everything of a quickstart is.
pub(super) struct Stage {
    pub(super) root: PathBuf,
    pub(super) primary: PathBuf,
    pub(super) mirror: PathBuf,
}

impl Stage {
    pub(super) fn at(dir: &Path) -> Result<Self> {
        let root = std::path::absolute(dir)?;
        Ok(Self { primary: root.join("primary"), mirror: root.join("mirror"), root })
    }

    /// Makes the directory and a volume in it.
    pub(super) fn make(&self) -> Result<()> {
        if self.root.join(MARKER).exists() {
            let root = self.root.display();
            let message =
                format!("{root} holds an earlier quickstart; `farshore quickstart --clean {root}` removes it");
            bail!(Failure::error(Exit::AlreadyThere, message));
        }
        if fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_some()) {
            let message = format!("{} is not empty; name a new directory", self.root.display());
            bail!(Failure::error(Exit::AlreadyThere, message));
        }
        for dir in [&self.root, &self.primary, &self.mirror] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        fs::write(self.root.join(MARKER), "made by farshore quickstart\n")?;
        let store = format!("file://{}", self.root.join("store").display());
        Self::farshore(&["format", &self.path("meta"), "--store", &store, "--name", "quickstart"])
    }

    pub(super) fn start_primary(&self) -> Result<()> {
        let (log, primary) = (self.path("primary.log"), self.path("primary"));
        Self::farshore(&["mount", &self.path("meta"), &primary, "--listen", "127.0.0.1:0", "--log", &log])
    }

    pub(super) fn start_mirror(&self) -> Result<()> {
        let status: crate::status::RegionStatus =
            serde_json::from_str(&mounted::attribute(&self.primary, control_names::STATUS)?)?;
        let listen = status.listen.context("the primary says nothing of where it listens")?;
        let (meta, mirror, log) = (self.path("mirror-meta"), self.path("mirror"), self.path("mirror.log"));
        let (upstream, cache) = (format!("http://{listen}"), self.path("mirror-cache"));
        let args = ["mirror", &upstream, "--meta", &meta, "--mount", &mirror, "--cache-dir", &cache, "--log", &log];
        Self::farshore(&args)
    }

    /// Unmounts both and removes the directory.
    pub(super) fn clean(&self) -> Result<()> {
        let root = self.root.display();
        if !self.root.join(MARKER).exists() {
            bail!(Failure::error(Exit::Usage, format!("{root} was not made by a quickstart; nothing is removed")));
        }
        for mount in [&self.mirror, &self.primary] {
            if mounted::answers(mount) {
                Self::farshore(&["unmount", &mount.to_string_lossy()])?;
            }
        }
        fs::remove_dir_all(&self.root).with_context(|| format!("cannot remove {root}"))?;
        say(&format!("{root} is removed"));
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).to_string_lossy().into_owned()
    }

    /// Runs this same program; what it says of itself is not shown unless it fails.
    fn farshore(args: &[&str]) -> Result<()> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`farshore {}` failed: {said}", args.join(" "))
    }
}
