//! What survives `kill -9`, a damaged journal and a full disk, and how the rest is told.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;

const CHILD: &str = "engine::embedded::tests::durability::child_that_commits_until_it_is_killed";
const CHILD_PATH: &str = "FARSHORE_TEST_ENGINE";
const CHILD_RELAXED: &str = "FARSHORE_TEST_ENGINE_RELAXED";
const CLIENTS: u8 = 4;
const ACKNOWLEDGED: &str = "acknowledged ";

/// Not a test of its own: the child of the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let options = match std::env::var_os(CHILD_RELAXED) {
        Some(_) => relaxed(),
        None => EmbeddedOptions::default(),
    };
    let engine = Arc::new(EmbeddedEngine::open(path, &options).unwrap());
    let clients = (0..CLIENTS).map(|client| tokio::spawn(commit_for_ever(Arc::clone(&engine), client)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

async fn commit_for_ever(engine: Arc<EmbeddedEngine>, client: u8) {
    for number in 0u32.. {
        let mut txn = engine.begin().await.unwrap();
        let text = format!("{client}/{number:08}");
        txn.set(format!("a{text}").as_bytes(), text.as_bytes());
        txn.set(format!("b{text}").as_bytes(), text.as_bytes());
        txn.add(&[b'c', client], &1u64.to_le_bytes());
        txn.commit().await.unwrap();
        let line = format!("{ACKNOWLEDGED}{text}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

fn spawn_child(path: &Path, durability: Durability) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]).env(CHILD_PATH, path);
    if durability == Durability::Os {
        command.env(CHILD_RELAXED, "1");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills a child after `enough` acknowledged commits; gives all that it acknowledged.
fn kill_after(path: &Path, durability: Durability, enough: usize) -> Vec<String> {
    let mut child = spawn_child(path, durability);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
    let mut acknowledged = lines.filter_map(|line| line.strip_prefix(ACKNOWLEDGED).map(str::to_owned));
    let mut seen: Vec<String> = acknowledged.by_ref().take(enough).collect();
    child.kill().unwrap();
    seen.extend(acknowledged);
    child.wait().unwrap();
    assert!(seen.len() >= enough, "the child ended by itself after {}", seen.len());
    seen
}

async fn check_after_kill(engine: &EmbeddedEngine, acknowledged: &[String]) {
    for text in acknowledged {
        for row in ["a", "b"] {
            let value = get(engine, format!("{row}{text}").as_bytes()).await;
            assert_eq!(value.as_deref(), Some(text.as_bytes()), "{row}{text} was acknowledged");
        }
    }
    for client in 0..CLIENTS {
        let mut txn = engine.begin().await.unwrap();
        let (a, b) = (format!("a{client}/"), format!("b{client}/"));
        let first = txn.range(&RangeRead::prefix(a), Isolation::Snapshot).await.unwrap().rows.len();
        let second = txn.range(&RangeRead::prefix(b), Isolation::Snapshot).await.unwrap().rows.len();
        let counted = txn.get(&[b'c', client], Isolation::Snapshot).await.unwrap();
        let counted = counted.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
        assert_eq!((first, first as u64), (second, counted), "a commit is whole or not there");
    }
}

async fn kill_loses_nothing(durability: Durability) {
    for enough in [1, 300] {
        let root = tempfile::tempdir().unwrap();
        EmbeddedEngine::create(root.path(), &relaxed()).unwrap().close().await.unwrap();
        let acknowledged = kill_after(root.path(), durability, enough);
        let engine = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
        check_after_kill(&engine, &acknowledged).await;
        put(&engine, b"and", b"on").await.unwrap();
    }
}

#[tokio::test]
async fn kill_loses_no_acknowledged_commit() {
    kill_loses_nothing(Durability::Commit).await;
}

#[tokio::test]
async fn kill_loses_no_acknowledged_commit_that_was_left_to_the_system() {
    kill_loses_nothing(Durability::Os).await;
}

#[tokio::test]
async fn what_was_left_to_the_system_is_synced_when_it_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let engine = EmbeddedEngine::create(root.path(), &relaxed()).unwrap();
    let mark = || HighWater::open(&Layout::at(root.path())).unwrap().1;
    for number in 0..5u8 {
        let version = put(&engine, b"k", &[number]).await.unwrap();
        engine.sync_to(version).await.unwrap();
        assert!(engine.durable() >= version && mark() >= Some(version), "{version} is on the disk");
    }
    let version = put(&engine, b"k", b"last").await.unwrap();
    engine.sync().await.unwrap();
    assert!(engine.durable() >= version);
    engine.close().await.unwrap();
    assert!(matches!(engine.sync_to(version).await, Err(EngineError::Closed)));
}

fn journal(root: &Path) -> PathBuf {
    let entries = fs::read_dir(root.join("rows")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).max().unwrap()
}

/// An engine with a hundred commits in its journal, closed; and how long the journal is.
async fn hundred_commits(root: &Path) -> u64 {
    let engine = EmbeddedEngine::create(root, &EmbeddedOptions::default()).unwrap();
    for number in 0..100u8 {
        put(&engine, &[b'k', number], b"value").await.unwrap();
    }
    engine.close().await.unwrap();
    let bytes = fs::read(journal(root)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64
}

#[tokio::test]
async fn a_journal_that_lost_its_end_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let length = hundred_commits(root.path()).await;
    OpenOptions::new().write(true).open(journal(root.path())).unwrap().set_len(length / 2).unwrap();
    for _ in 0..2 {
        let error = EmbeddedEngine::open(root.path(), &relaxed()).unwrap_err();
        assert!(matches!(error, EngineError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("are gone"), "{error}");
    }
    fs::remove_file(root.path().join("high-water")).unwrap();
    let engine = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
    assert!(get(&engine, b"k\x01").await.is_some(), "what is left can be had");
    assert!(get(&engine, &[b'k', 99]).await.is_none());
}

#[tokio::test]
async fn a_journal_with_foreign_bytes_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let length = hundred_commits(root.path()).await;
    let whole = fs::read(journal(root.path())).unwrap();
    for part in 1..10 {
        let file = OpenOptions::new().write(true).open(journal(root.path())).unwrap();
        file.write_all_at(&whole, 0).unwrap();
        file.write_all_at(&[0xA5; 16], length * part / 10).unwrap();
        drop(file);
        let error = EmbeddedEngine::open(root.path(), &relaxed()).unwrap_err();
        assert!(matches!(error, EngineError::Damaged { .. }), "{error}");
    }
    fs::write(journal(root.path()), &whole).unwrap();
    let engine = EmbeddedEngine::open(root.path(), &relaxed()).unwrap();
    assert!(get(&engine, &[b'k', 99]).await.is_some());
}

/// A small filesystem in memory; none where this process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, Some(c"size=4m")).ok()?;
        Some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[tokio::test]
async fn a_full_disk_stops_commits_until_it_is_opened_again() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("NOT RUN: mounting a small filesystem needs root");
        return;
    };
    let path = disk.0.path().join("engine");
    let engine = EmbeddedEngine::create(&path, &EmbeddedOptions::default()).unwrap();
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let mut value = vec![0; 50_000];
    rand::fill(&mut value[..]);
    let mut written = 0u8;
    let error = loop {
        match put(&engine, &[written], &value).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EngineError::Poisoned { .. }), "{error}");
    assert!(written > 5);

    fs::remove_file(&ballast).unwrap();
    assert!(matches!(put(&engine, b"x", b"").await, Err(EngineError::Poisoned { .. })));
    assert!(matches!(engine.sync().await, Err(EngineError::Poisoned { .. })));
    let mut txn = engine.begin().await.unwrap();
    let seen = txn.read_version().await.unwrap();
    assert!(matches!(engine.changed_since(seen).await, Err(EngineError::Poisoned { .. })));
    assert_eq!(get(&engine, &[written - 1]).await.unwrap(), value, "reads go on");
    assert!(get(&engine, &[written]).await.is_none(), "what failed is not seen");

    drop((txn, engine));
    let engine = EmbeddedEngine::open(&path, &EmbeddedOptions::default()).unwrap();
    for number in 0..written {
        assert_eq!(get(&engine, &[number]).await.unwrap(), value);
    }
    put(&engine, b"x", b"").await.unwrap();
}
