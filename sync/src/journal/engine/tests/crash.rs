//! A job whose process is killed again and again ends as one that was not.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rand::SeedableRng;

use super::*;

const CHILD: &str = "journal::engine::tests::crash::child_that_works_until_it_is_killed";
const CHILD_PATH: &str = "FARSHORE_TEST_JOURNAL";
const ACKNOWLEDGED: &str = "acknowledged ";
const KEYS: u16 = 4_000;
const KILLS: u64 = 12;
const TASKS: u64 = 3;

fn place(number: u16) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn name(number: u16) -> Key {
    Key::new(place(number)).unwrap()
}

async fn opened(path: &Path) -> (EngineJournal, Opened) {
    let journal = EngineJournal::at(&EngineUrl::embedded(path), JournalOptions::new(Sharing::Alone)).await.unwrap();
    let opened = journal.open(&job("killed", KeyRange::all())).await.unwrap();
    (journal, opened)
}

/// Not a test of its own: the child of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_works_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let (journal, _) = opened(path.as_ref()).await;
    let journal = Arc::new(journal);
    let tasks: Vec<_> = (0..TASKS).map(|number| tokio::spawn(work(Arc::clone(&journal), number))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    acknowledge("end");
}

fn acknowledge(what: &str) {
    std::io::stdout().write_all(format!("{ACKNOWLEDGED}{what}\n").as_bytes()).unwrap();
}

async fn work(journal: Arc<EngineJournal>, number: u64) {
    loop {
        match journal.claim(&worker(&format!("task {number}"))).await.unwrap() {
            Claim::Finished => return,
            Claim::Wait => tokio::time::sleep(Duration::from_millis(1)).await,
            Claim::Range(claimed) => settle_range(&journal, claimed).await,
        }
    }
}

async fn settle_range(journal: &EngineJournal, mut claimed: ClaimedRange) {
    loop {
        let keys: Vec<u16> = (0..KEYS).filter(|key| claimed.range.contains(&place(*key))).collect();
        if keys.len() > 10 && journal.wants_ranges().await.unwrap() {
            claimed = journal.split(&claimed, &place(keys[keys.len() / 2])).await.unwrap();
            continue;
        }
        let now = keys.len().min(10);
        let settled = outcome(&keys[..now], keys.get(now).map(|key| place(*key)));
        let left = journal.settle(&claimed, settled).await.unwrap();
        keys[..now].iter().for_each(|key| acknowledge(&key.to_string()));
        match left {
            Some(left) => claimed = left,
            None => return,
        }
    }
}

/// A tenth fails and a tenth is to be deleted.
fn outcome(keys: &[u16], frontier: Option<Bytes>) -> Settled {
    let mut settled = Settled { frontier, ..Settled::default() };
    for key in keys {
        match key % 10 {
            0 => settled.deletions.push(Deletion { key: name(*key), size: 1 }),
            1 => settled.failures.push(Failure {
                place: key.to_string(),
                word: "refused".into(),
                reason: "not allowed".into(),
            }),
            _ => settled.counts.copied += 1,
        }
    }
    settled
}

fn spawn_child(path: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--nocapture"]).env(CHILD_PATH, path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills a child after `enough` keys, or lets it end: all keys that it acknowledged.
fn acknowledged_by_child(path: &Path, enough: usize) -> Vec<String> {
    let mut child = spawn_child(path);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
    let mut acknowledged =
        lines.filter_map(|line| line.split_once(ACKNOWLEDGED).map(|(_, what)| what.trim().to_owned()));
    let mut seen: Vec<String> = acknowledged.by_ref().take(enough).collect();
    child.kill().unwrap();
    seen.extend(acknowledged);
    child.wait().unwrap();
    seen
}

#[tokio::test]
async fn a_job_that_is_killed_again_and_again_settles_each_key_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    let mut random = StdRng::seed_from_u64(1);
    let mut acknowledged: Vec<String> = Vec::new();
    for _ in 0..KILLS {
        acknowledged.extend(acknowledged_by_child(&path, random.random_range(1..250)));
        let (journal, opened) = opened(&path).await;
        assert!(matches!(opened, Opened::Resumed(_)), "{opened:?}");
        journal.audit().await.unwrap();
        check_progress(&journal, &acknowledged).await;
        journal.close().await.unwrap();
    }
    let rest = acknowledged_by_child(&path, usize::MAX);
    assert_eq!(rest.last().map(String::as_str), Some("end"), "the last child was not killed");
    check_end(&path, acknowledged, rest).await;
}

/// What was acknowledged is there, whatever was on its way at the end.
async fn check_progress(journal: &EngineJournal, acknowledged: &[String]) {
    let copied = acknowledged.iter().filter(|key| !key.ends_with(['0', '1'])).count() as u64;
    assert!(journal.counts().await.unwrap().copied >= copied);
    let failed = acknowledged.iter().filter(|key| key.ends_with('1')).count();
    assert!(journal.failures(0, usize::from(KEYS)).await.unwrap().len() >= failed);
}

async fn check_end(path: &Path, mut acknowledged: Vec<String>, rest: Vec<String>) {
    acknowledged.extend(rest);
    acknowledged.sort_unstable();
    assert!(acknowledged.windows(2).all(|pair| pair[0] != pair[1]), "no key is settled twice");
    let (journal, _) = opened(path).await;
    assert_eq!(journal.counts().await.unwrap().copied, u64::from(KEYS) * 8 / 10);
    let failures = journal.failures(0, usize::from(KEYS)).await.unwrap();
    let failed: std::collections::BTreeSet<&str> = failures.iter().map(|failure| failure.place.as_str()).collect();
    assert_eq!((failures.len(), failed.len()), (usize::from(KEYS) / 10, usize::from(KEYS) / 10));
    let deletions = journal.deletions(None, usize::from(KEYS)).await.unwrap();
    let expected: Vec<Key> = (0..KEYS).rev().filter(|key| key % 10 == 0).map(name).collect();
    assert_eq!(deletions.into_iter().map(|deletion| deletion.key).collect::<Vec<_>>(), expected);
    assert_eq!(journal.audit().await.unwrap().unfinished, 0);
    journal.finish().await.unwrap();
    journal.close().await.unwrap();
    assert!(matches!(opened(path).await.1, Opened::Finished(_)));
}
