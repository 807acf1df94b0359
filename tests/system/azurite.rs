//! An Azurite server of a test's own, which speaks as Azure Blob Storage does.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use farshore_sync::store::azure::{AzureOptions, AzureStore, Credentials};

use crate::command::{find, not_run};
use crate::process::Process;
use crate::shore::Shore;

/// The account and key that every emulator has.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "data";
/// Longest that the server may take to answer.
const START: Duration = Duration::from_mins(1);

/// A running server.
pub(crate) struct Azurite {
    port: u16,
    _process: Process,
}

impl Azurite {
    /// Starts a server in the test's place and gives later commands its credentials; `None`, said aloud, where it is
    /// not installed.
    pub(crate) fn start(shore: &mut Shore) -> Option<Self> {
        let Some(program) = program() else {
            not_run("sync with Azure", "no `azurite-blob` on PATH nor in /opt/farshore-azurite (npm install azurite)");
            return None;
        };
        let port = farshore_ports::free();
        let mut command = Command::new(program);
        command.args(["--blobHost", "127.0.0.1", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]);
        command.args(["--blobPort", &port.to_string(), "--location", &shore.arg("azurite")]);
        let process = Process::spawn_quiet(&mut command);
        shore.set_env("AZURE_STORAGE_ACCOUNT", ACCOUNT);
        shore.set_env("AZURE_STORAGE_ACCOUNT_KEY", KEY);
        let server = Self { port, _process: process };
        server.make_container(CONTAINER);
        Some(server)
    }

    /// The URL of a store in its container.
    pub(crate) fn store(&self, prefix: &str) -> String {
        // Azurite does not look at CRC-64.
        format!("az://{CONTAINER}/{prefix}?endpoint={}&checksum=md5", self.endpoint())
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A store in its container, as other tools name it.
    pub(crate) fn path(prefix: &str) -> String {
        format!("{CONTAINER}/{prefix}")
    }

    fn make_container(&self, name: &str) {
        let mut options = AzureOptions::new(ACCOUNT, name, Credentials::Key(KEY.to_owned()));
        options.endpoint = Some(self.endpoint());
        let store = AzureStore::new(&options).expect("the options are right");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let begun = Instant::now();
        while let Err(error) = runtime.block_on(store.create_container()) {
            assert!(begun.elapsed() < START, "no container can be made: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn program() -> Option<PathBuf> {
    let installed = PathBuf::from("/opt/farshore-azurite/node_modules/.bin/azurite-blob");
    let named = std::env::var_os("FARSHORE_TEST_AZURITE").map(PathBuf::from);
    named.or_else(|| find("azurite-blob")).or_else(|| installed.is_file().then_some(installed))
}
