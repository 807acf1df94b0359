//! A peer's fresh volume, mounted: made, turned cold, taken away.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine;
use crate::peer::Peer;
use crate::programs::Programs;
use crate::server::Server;
use crate::store::{self, Stores};

/// Where volumes are made, and out of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) home: &'a Path,
    pub(crate) programs: &'a Programs,
    pub(crate) stores: &'a Stores,
}

/// A mounted volume of a peer; for ext4 a directory.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    peer: Peer,
    place: Place<'a>,
    home: tempfile::TempDir,
    // Dropped in this order: a mount before the metadata that it uses.
    mount: Option<Server>,
    redis: Option<(Server, u16)>,
}

impl<'a> Served<'a> {
    /// Makes a volume and mounts it.
    pub(crate) fn begin(peer: Peer, place: &Place<'a>) -> Result<Self> {
        let home = tempfile::Builder::new().prefix(&format!("{peer}-")).tempdir_in(place.home)?;
        fs::create_dir(home.path().join("mount"))?;
        fs::create_dir(home.path().join("store"))?;
        let redis = match peer {
            Peer::JuicefsRedis => Some(redis(home.path(), place.programs)?),
            _ => None,
        };
        let mut served = Self { peer, place: *place, home, mount: None, redis };
        served.format()?;
        machine::settle(served.home.path())?;
        served.mount()?;
        Ok(served)
    }

    /// The root of the volume.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    /// Unmounts, empties the caches of the kernel and of the peer, and mounts again. A metadata
    /// server of its own, Redis, runs on, as it would.
    pub(crate) fn turn_cold(&mut self) -> Result<()> {
        self.unmount()?;
        let cache = self.home.path().join("cache");
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        machine::settle(self.home.path())?;
        machine::drop_caches()?;
        self.mount()
    }

    /// Unmounts and removes the volume.
    pub(crate) fn end(mut self) -> Result<()> {
        self.unmount()
    }

    fn format(&self) -> Result<()> {
        let Some(mut command) = self.format_command()? else {
            return Ok(());
        };
        self.place.stores.credentials(&mut command);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn format_command(&self) -> Result<Option<Command>> {
        let home = self.home.path();
        Ok(match self.peer {
            Peer::Ext4 => None,
            Peer::Farshore | Peer::FarshoreCommit => {
                let mut command = Command::new(program(self.place.programs.farshore.as_ref())?);
                command.arg("format").arg(home.join("meta"));
                command.args(["--store", &self.place.stores.farshore_url(home)]);
                Some(command)
            }
            Peer::JuicefsSqlite | Peer::JuicefsRedis => {
                let mut command = Command::new(program(self.place.programs.juicefs.as_ref())?);
                command.args(["format", "--trash-days", "0"]);
                command.args(self.place.stores.juicefs_arguments(home));
                command.args([self.juicefs_meta(), volume_name(home)]);
                Some(command)
            }
        })
    }

    fn mount(&mut self) -> Result<()> {
        let Some(mut command) = self.mount_command()? else {
            return Ok(());
        };
        self.place.stores.credentials(&mut command);
        let dir = self.dir();
        let outside = device(self.home.path())?;
        let mut server = Server::start(&command, &self.home.path().join("mount.log"))?;
        server.wait_until("the mount", || device(&dir).is_ok_and(|inside| inside != outside))?;
        self.mount = Some(server);
        Ok(())
    }

    fn mount_command(&self) -> Result<Option<Command>> {
        let home = self.home.path();
        Ok(match self.peer {
            Peer::Ext4 => None,
            Peer::Farshore | Peer::FarshoreCommit => {
                let mut command = Command::new(program(self.place.programs.farshore.as_ref())?);
                command.arg("mount").arg(home.join("meta")).arg(self.dir()).arg("--foreground");
                command.args(self.peer.durability().iter().flat_map(|mode| ["--durability", *mode]));
                Some(command)
            }
            Peer::JuicefsSqlite | Peer::JuicefsRedis => {
                let mut command = Command::new(program(self.place.programs.juicefs.as_ref())?);
                command.args(["mount", "--no-usage-report", "--no-syslog", "--backup-meta", "0"]);
                command.arg("--cache-dir").arg(home.join("cache"));
                command.arg(self.juicefs_meta()).arg(self.dir());
                Some(command)
            }
        })
    }

    fn juicefs_meta(&self) -> String {
        match &self.redis {
            Some((_, port)) => format!("redis://127.0.0.1:{port}/1"),
            None => format!("sqlite3://{}", self.home.path().join("meta.db").display()),
        }
    }

    fn unmount(&mut self) -> Result<()> {
        let Some(server) = self.mount.take() else {
            return Ok(());
        };
        server.stop()?;
        if device(&self.dir())? != device(self.home.path())? {
            bail!("the server of {} has ended, but its mount is still there", self.peer);
        }
        Ok(())
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // After a failed workload; the failure itself is told by whoever saw it first, and what
        // is left then is removed when the program ends.
        self.unmount().unwrap_or_default();
    }
}

/// Programs are looked for before a peer is run.
fn program(path: Option<&PathBuf>) -> Result<&PathBuf> {
    path.context("the program has gone")
}

/// What JuiceFS accepts as a volume's name.
fn volume_name(home: &Path) -> String {
    store::leaf(home).to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

fn device(path: &Path) -> std::io::Result<u64> {
    Ok(fs::metadata(path)?.dev())
}

fn redis(home: &Path, programs: &Programs) -> Result<(Server, u16)> {
    let port = farshore_ports::free();
    let mut command = Command::new(program(programs.redis.as_ref())?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(home);
    command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]);
    let mut server = Server::start(&command, &home.join("redis.log"))?;
    server.wait_until("Redis", || pong(port).is_ok_and(|pong| pong))?;
    Ok((server, port))
}

fn pong(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
