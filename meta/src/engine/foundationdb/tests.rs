//! The contract suite on FoundationDB, wherever a server is at hand.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicUsize;

use farshore_proto::limits::MAX_TRANSACTION_AGE_MS;

use super::*;
use crate::engine::contract;

/// A server of the test's own, in memory.
struct Server {
    process: Child,
    directory: tempfile::TempDir,
}

impl Server {
    /// Starts a server; none if its programs are not installed.
    fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let cluster_file = directory.path().join("fdb.cluster");
        std::fs::write(&cluster_file, format!("test:test@127.0.0.1:{port}")).unwrap();
        let mut command = Command::new("fdbserver");
        command.arg("--public-address").arg(format!("127.0.0.1:{port}"));
        command.arg("--cluster-file").arg(&cluster_file);
        command.arg("--datadir").arg(directory.path()).arg("--logdir").arg(directory.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
        let server = Self { process, directory };
        let mut configure = Command::new("fdbcli");
        configure.arg("-C").arg(&cluster_file).args(["--timeout", "30", "--exec", "configure new single memory"]);
        configure.status().ok()?.success().then_some(server)
    }

    fn cluster_file(&self) -> PathBuf {
        self.directory.path().join("fdb.cluster")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_keeps_the_contract() {
    let given = std::env::var_os("FDB_CLUSTER_FILE").map(PathBuf::from);
    let server = if given.is_none() { Server::start() } else { None };
    let Some(cluster_file) = given.or_else(|| server.as_ref().map(Server::cluster_file)) else {
        eprintln!("NOT RUN: the contract on FoundationDB; set FDB_CLUSTER_FILE, or install fdbserver and fdbcli");
        return;
    };
    let run = format!("test-{:016x}", rand::random::<u64>());
    let count = AtomicUsize::new(0);
    let make = async || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Arc::new(FoundationDbEngine::open(&cluster_file, &format!("{run}-{number}")).unwrap()) as Arc<dyn Engine>
    };
    let max_age = Duration::from_millis(MAX_TRANSACTION_AGE_MS);
    contract::run_all(&make, (make().await, max_age)).await;
    let all = foundationdb::Database::from_path(cluster_file.to_str().unwrap()).unwrap();
    let txn = all.create_trx().unwrap();
    txn.clear_range(format!("{run}-").as_bytes(), format!("{run}.").as_bytes());
    txn.commit().await.unwrap();
}
