//! A real server: an Azurite of the test's own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use farshore_sync::Algorithm;
use farshore_sync::store::azure::{AzureOptions, AzureStore, Credentials, KeyRules};

/// The account and key that every emulator has.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const START: Duration = Duration::from_mins(2);

/// A server, and what it is told of in options.
pub(crate) struct Server {
    pub(crate) options: AzureOptions,
    stores: AtomicU32,
    _process: Process,
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

impl Server {
    /// Starts an Azurite; none, said aloud, where it is not installed.
    pub(crate) async fn azurite() -> Option<Self> {
        let Some(program) = find() else {
            let why = "no `azurite-blob` on PATH, in FARSHORE_TEST_AZURITE nor in /opt/farshore-azurite (npm install azurite)";
            writeln!(std::io::stderr(), "NOT RUN: Azure on Azurite: {why}").expect("stderr can be written");
            return None;
        };
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let port = farshore_ports::free();
        let mut command = Command::new(program);
        command.args(["--blobHost", "127.0.0.1", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]);
        command.args(["--blobPort", &port.to_string()]).arg("--location").arg(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = Process { child: child.expect("azurite can be run"), _dir: dir };
        let mut options = AzureOptions::new(ACCOUNT, "container", Credentials::Key(KEY.to_owned()));
        options.endpoint = Some(format!("http://127.0.0.1:{port}"));
        // Azurite does not look at CRC-64.
        options.verifies = vec![Algorithm::Md5];
        let begun = Instant::now();
        let store = AzureStore::new(&options).expect("the options are right");
        while let Err(error) = store.create_container().await {
            assert!(begun.elapsed() < START, "no container can be made: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(Self { options, stores: AtomicU32::new(0), _process: process })
    }

    /// An empty store: a prefix of its own.
    pub(crate) fn store(&self) -> Arc<AzureStore> {
        Arc::new(AzureStore::new(&self.next()).expect("the options are right"))
    }

    /// The same where every key is sent as it is.
    pub(crate) fn exact(&self) -> Arc<AzureStore> {
        let options = AzureOptions { keys: KeyRules::Exact, ..self.next() };
        Arc::new(AzureStore::new(&options).expect("the options are right"))
    }

    fn next(&self) -> AzureOptions {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        AzureOptions { prefix: format!("store-{number}/"), ..self.options.clone() }
    }
}

fn find() -> Option<PathBuf> {
    let named = std::env::var_os("FARSHORE_TEST_AZURITE").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = Path::new("/opt/farshore-azurite/node_modules/.bin").to_owned();
    let places = std::env::split_paths(&path).chain([installed]).map(|dir| dir.join("azurite-blob"));
    named.into_iter().chain(places).find(|program| program.is_file())
}
