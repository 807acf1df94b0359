//! Whole jobs on stores in memory, on disks, and on stores that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::entry::Kind;
use crate::journal::{EngineJournal, JournalOptions, MemoryJournal, Opened, Sharing};
use crate::key::Key;
use crate::merge::Side;
use crate::outcome::{Outcome, Silent, What};
use crate::policy::Compare;
use crate::retry::{Dice, RetryPolicy};
use crate::store::{Body, Durability, Faults, FaultyStore, LocalOptions, LocalStore, MemoryStore, PutRequest};

/// Keeps every outcome.
#[derive(Debug, Default)]
struct Recorder {
    outcomes: Mutex<Vec<Outcome>>,
    listed: Mutex<u64>,
}

impl Observer for Recorder {
    fn listed(&self, _side: Side, entries: u64) {
        *self.listed.lock() += entries;
    }

    fn outcome(&self, outcome: &Outcome) {
        self.outcomes.lock().push(outcome.clone());
    }
}

impl Recorder {
    fn keys(&self, wanted: impl Fn(&What) -> bool) -> BTreeSet<Key> {
        let outcomes = self.outcomes.lock();
        outcomes.iter().filter(|outcome| wanted(&outcome.what)).map(|outcome| outcome.key.clone()).collect()
    }
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

pub(super) async fn put(store: &dyn Store, name: &str, bytes: &[u8]) {
    let request = PutRequest::object(key(name), bytes.len() as u64);
    store.put(&request, Body::Whole(Bytes::copy_from_slice(bytes))).await.unwrap();
}

fn contents(store: &MemoryStore) -> BTreeMap<Key, Bytes> {
    store.snapshot().into_iter().map(|(key, (_, bytes))| (key, bytes)).collect()
}

fn small(name: &str) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::objects(name).with_capabilities(|can| {
        can.page_entries = 7;
        can.max_copy_bytes = 0;
    }))
}

fn options() -> JobOptions {
    let retry =
        RetryPolicy { attempts: 6, first_pause: Duration::from_micros(1), longest_pause: Duration::from_micros(10) };
    JobOptions { copy: CopyOptions { retry, ..CopyOptions::default() }, ..JobOptions::default() }
}

fn deleting() -> JobOptions {
    let options = options();
    JobOptions { policy: ComparePolicy { delete: true, ..options.policy.clone() }, ..options }
}

async fn run(source: Arc<dyn Store>, target: Arc<dyn Store>, options: JobOptions) -> (Summary, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let journal = Arc::new(MemoryJournal::new().unwrap());
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    (Job::new(source, target, options).run(journal, observer).await.unwrap(), recorder)
}

#[tokio::test]
async fn a_job_makes_the_target_equal_and_a_second_does_nothing() {
    let (source, target) = (small("source"), small("target"));
    for number in 0..500 {
        put(source.as_ref(), &format!("dir{}/object{number}", number % 7), &vec![number as u8; number]).await;
    }
    put(target.as_ref(), "dir0/object0", b"other").await;
    put(target.as_ref(), "surplus", b"x").await;
    let (summary, _) = run(source.clone(), target.clone(), deleting()).await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(contents(&target), contents(&source));
    assert_eq!((summary.counts.copied, summary.counts.deleted), (500, 1));
    let (summary, recorder) = run(source, target, deleting()).await;
    assert_eq!((summary.counts.skipped, summary.counts.copied), (500, 0));
    assert!(recorder.outcomes.lock().is_empty());
}

#[tokio::test]
async fn an_empty_source_deletes_nothing_unless_told() {
    let (source, target) = (small("source"), small("target"));
    put(target.as_ref(), "a", b"x").await;
    let (summary, _) = run(source.clone(), target.clone(), deleting()).await;
    assert_eq!(summary.closed, Some(Closed::EmptySource));
    assert_eq!(contents(&target).len(), 1);
    let mut allowed = deleting();
    allowed.deletion.allow_empty_source = true;
    let (summary, _) = run(source, target.clone(), allowed).await;
    assert!(summary.is_clean() && contents(&target).is_empty());
}

#[tokio::test]
async fn a_source_that_cannot_be_listed_deletes_nothing() {
    let (source, target) = (small("source"), small("target"));
    put(source.as_ref(), "a", b"x").await;
    put(target.as_ref(), "b", b"x").await;
    let faults = Faults { unavailable: 1.0, ..Faults::default() };
    let (summary, _) = run(Arc::new(FaultyStore::new(source, faults, 1)), target.clone(), deleting()).await;
    assert!(!summary.complete && summary.error.is_some());
    assert_eq!(contents(&target).len(), 1);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_tells_all() {
    let (source, target) = (small("source"), small("target"));
    put(source.as_ref(), "new", b"x").await;
    put(target.as_ref(), "old", b"x").await;
    let (summary, recorder) = run(source, target.clone(), JobOptions { dry_run: true, ..deleting() }).await;
    assert_eq!((summary.counts.copied, summary.counts.deletions_planned, summary.counts.deleted), (1, 1, 0));
    assert_eq!(contents(&target).keys().cloned().collect::<Vec<_>>(), [key("old")]);
    assert_eq!(recorder.keys(|what| matches!(what, What::Deleted)), BTreeSet::from([key("old")]));
}

#[tokio::test]
async fn large_objects_go_in_parts_and_small_stores_split() {
    let target = Arc::new(MemoryStore::objects("target").with_capabilities(|can| {
        can.preferred_put_bytes = 1 << 20;
        can.max_copy_bytes = 0;
    }));
    let source = small("source");
    let large: Vec<u8> = (0..20_000_003_u32).map(|at| (at % 253) as u8).collect();
    put(source.as_ref(), "large", &large).await;
    let mut options = options();
    options.copy.blake3 = true;
    options.copy.verify = crate::copy::Verify::ReadBack;
    let (summary, _) = run(source.clone(), target.clone(), options).await;
    assert!(summary.is_clean(), "{summary:?}");
    assert_eq!(contents(&target), contents(&source));
    assert!(target.list_uploads(None).await.unwrap().uploads.is_empty());
}

#[tokio::test]
async fn an_upload_that_was_begun_by_one_who_was_killed_before_he_heard_its_name_is_aborted() {
    let target = Arc::new(MemoryStore::objects("target").with_capabilities(|can| {
        can.preferred_put_bytes = 1 << 20;
        can.max_copy_bytes = 0;
    }));
    let source = small("source");
    put(source.as_ref(), "large", &vec![7; 3 << 20]).await;
    put(source.as_ref(), "gone", b"small by now").await;
    let job = Job::new(source.clone(), target.clone(), options());
    let journal = Arc::new(MemoryJournal::new().unwrap());
    journal.open(&job.identity()).await.unwrap();
    for name in ["large", "gone", "another's"] {
        target.begin_multipart(&PutRequest::object(key(name), 3 << 20)).await.unwrap();
    }
    for name in ["large", "gone"] {
        let upload = crate::store::Upload::unnamed(key(name));
        let identity = source.head(&key(name), crate::AttributeSet::NONE).await.unwrap().entry.identity();
        let record = crate::journal::UploadRecord { upload, identity, part_bytes: 8 << 20, parts: Vec::new() };
        journal.begin_upload(&record).await.unwrap();
    }
    assert!(job.run(journal, Arc::new(Silent)).await.unwrap().is_clean());
    let left = target.list_uploads(None).await.unwrap().uploads;
    let left: Vec<String> = left.iter().map(|open| open.upload.key.to_string()).collect();
    assert_eq!(left, ["another's"]);
}

#[tokio::test]
async fn one_provider_copies_by_itself() {
    let (source, target) = (Arc::new(MemoryStore::objects("one")), Arc::new(MemoryStore::objects("two")));
    put(source.as_ref(), "a", b"bytes").await;
    let (summary, _) = run(source.clone(), target.clone(), options()).await;
    assert_eq!(summary.counts.copied_server_side, 1);
    assert_eq!(contents(&target), contents(&source));
}

#[tokio::test]
async fn a_storage_class_is_kept_or_given() {
    let source = Arc::new(MemoryStore::objects("one"));
    let mut request = PutRequest::object(key("a"), 1);
    request.attributes.storage_class = Some("GLACIER_IR".to_owned());
    source.put(&request, Body::Whole("x".into())).await.unwrap();
    for given in [None, Some("STANDARD_IA".to_owned())] {
        let target = small("two");
        let mut options = options();
        options.copy.storage_class.clone_from(&given);
        run(source.clone(), target.clone(), options).await;
        let class = target.snapshot()[&key("a")].0.attributes.storage_class.clone();
        assert_eq!(class, given.or_else(|| Some("GLACIER_IR".to_owned())));
    }
}

#[tokio::test]
async fn checksums_decide_where_sizes_do_not() {
    let quiet = |name| Arc::new(MemoryStore::files(name).with_capabilities(|can| can.max_copy_bytes = 0));
    let (source, target) = (quiet("source"), quiet("target"));
    put(source.as_ref(), "same", b"bytes").await;
    put(source.as_ref(), "other", b"bytes").await;
    put(target.as_ref(), "same", b"bytes").await;
    put(target.as_ref(), "other", b"BYTES").await;
    let mut options = options();
    options.policy.by = Compare::Checksum;
    let (summary, _) = run(source.clone(), target.clone(), options).await;
    assert_eq!((summary.counts.copied, summary.counts.skipped), (1, 1));
    assert_eq!(contents(&target), contents(&source));
}

#[tokio::test]
async fn a_tree_is_copied_with_its_attributes() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| here.path().join(name);
    std::fs::create_dir_all(at("dir/empty")).unwrap();
    std::fs::write(at("dir/file"), vec![7; 400_000]).unwrap();
    std::fs::write(at("dir.txt"), "x").unwrap();
    std::fs::set_permissions(at("dir.txt"), std::fs::Permissions::from_mode(0o751)).unwrap();
    std::fs::hard_link(at("dir.txt"), at("dir/link")).unwrap();
    symlink("../nowhere", at("dir/symlink")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for name in ["dir.txt", "dir"] {
        std::fs::File::open(at(name)).unwrap().set_modified(old).unwrap();
    }
    let open = |path: &std::path::Path| -> Arc<dyn Store> {
        let options = LocalOptions { durability: Durability::AtFlush, ..LocalOptions::default() };
        Arc::new(LocalStore::open(path, options).unwrap())
    };
    let (source, target) = (open(here.path()), open(there.path()));
    let (summary, _) = run(source.clone(), target.clone(), deleting()).await;
    assert!(summary.is_clean(), "{summary:?}");
    let copied = |name: &str| std::fs::symlink_metadata(there.path().join(name)).unwrap();
    assert_eq!(std::fs::read(there.path().join("dir/file")).unwrap(), vec![7; 400_000]);
    assert!(copied("dir/empty").is_dir());
    assert_eq!(copied("dir.txt").mode() & 0o7777, 0o751);
    assert_eq!(copied("dir.txt").modified().unwrap(), old);
    assert_eq!(copied("dir").modified().unwrap(), old);
    assert_eq!(copied("dir.txt").ino(), copied("dir/link").ino());
    assert_eq!(std::fs::read_link(there.path().join("dir/symlink")).unwrap(), std::path::Path::new("../nowhere"));
    let (summary, recorder) = run(source, target, deleting()).await;
    assert!(recorder.outcomes.lock().is_empty(), "{:?} {summary:?}", recorder.outcomes.lock());
    std::fs::remove_dir_all(at("dir/empty")).unwrap();
    std::fs::remove_file(at("dir/link")).unwrap();
    let (summary, _) = run(open(here.path()), open(there.path()), deleting()).await;
    assert!(summary.is_clean() && summary.counts.deleted == 2, "{summary:?}");
    assert!(!there.path().join("dir/empty").exists() && !there.path().join("dir/link").exists());
}

/// Fills two stores from a seed: keys that both have, that differ, and that one has.
async fn fill(seed: u64, source: &MemoryStore, target: &MemoryStore) {
    let dice = Dice::new(seed);
    let roll = |below: usize| (dice.roll() * below as f64) as usize;
    for number in 0..roll(250) {
        let name = format!("{}/{}", ["a", "b", "long/prefix/of/keys", "z"][roll(4)], number);
        let bytes = vec![roll(256) as u8; roll(3000)];
        let (here, there) = (roll(10) < 8, roll(10) < 6);
        if here {
            put(source, &name, &bytes).await;
        }
        if there {
            let other = if roll(4) == 0 { vec![roll(256) as u8; roll(3000)] } else { bytes };
            put(target, &name, &other).await;
        }
    }
}

/// What must hold whatever fails.
fn check(
    seed: u64,
    (summary, recorder): &(Summary, Arc<Recorder>),
    source: &BTreeMap<Key, Bytes>,
    (before, after): (&BTreeMap<Key, Bytes>, &BTreeMap<Key, Bytes>),
) {
    let failed = recorder.keys(|what| matches!(what, What::Failed { .. }));
    for copied in recorder.keys(|what| matches!(what, What::Copied { .. })) {
        assert_eq!(after.get(&copied), source.get(&copied), "seed {seed}: {copied} is called copied");
    }
    for (key, bytes) in after {
        let right = source.get(key) == Some(bytes) || before.get(key) == Some(bytes);
        assert!(right || failed.contains(key) || !summary.complete, "seed {seed}: {key} is wrong and not told");
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        let removed_wrong_copy = failed.contains(key) || !summary.complete;
        assert!(
            !source.contains_key(key) || removed_wrong_copy,
            "seed {seed}: {key} was deleted and the source has it"
        );
        let deleted = !source.contains_key(key);
        assert!(!deleted || (summary.complete && summary.closed.is_none()), "seed {seed}: {key} was deleted unsafely");
    }
    if is_clean(summary) {
        assert_eq!(after, source, "seed {seed}: a clean job leaves both equal");
    }
}

fn is_clean(summary: &Summary) -> bool {
    summary.is_clean() && summary.error.is_none()
}

/// How a job on stores that fail ended, also where a store let it list everything and then refused what ends a job.
async fn run_among_faults(
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    options: JobOptions,
) -> (Summary, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let journal = Arc::new(MemoryJournal::new().unwrap());
    let observer = Arc::clone(&recorder) as Arc<dyn Observer>;
    let summary = match Job::new(source, target, options).run(journal.clone(), observer).await {
        Ok(summary) => summary,
        Err(JobError::Store(error)) => {
            let (counts, complete) = (journal.counts().await.unwrap(), journal.is_settled().await.unwrap());
            Summary { counts, complete, closed: None, error: Some(error) }
        }
        Err(error) => panic!("{error}"),
    };
    (summary, recorder)
}

async fn simulate(seed: u64, faults: Faults) -> bool {
    let (source, target) = (small("source"), small("target"));
    fill(seed, &source, &target).await;
    let (original, before) = (contents(&source), contents(&target));
    let here = Arc::new(FaultyStore::new(source, faults, seed ^ 1));
    let there = Arc::new(FaultyStore::new(target.clone(), faults, seed ^ 2));
    let mut options = deleting();
    options.deletion.allow_empty_source = true;
    options.seed = seed;
    let run = run_among_faults(here, there, options).await;
    check(seed, &run, &original, (&before, &contents(&target)));
    is_clean(&run.0)
}

#[tokio::test]
async fn stores_that_fail_never_make_a_wrong_copy_or_a_wrong_deletion() {
    let mut clean = 0;
    for seed in 0..150 {
        let level = [0.0, 0.02, 0.1, 0.3][seed as usize % 4];
        let faults = Faults {
            unavailable: level,
            throttled: level / 2.0,
            bad_page: level,
            lying_page: 0.0,
            bad_read: level,
            bad_write: level,
        };
        clean += usize::from(simulate(seed, faults).await);
    }
    assert!(clean >= 38, "jobs without faults are clean, and some with: {clean}");
}

#[tokio::test]
async fn a_listing_that_lies_costs_no_object() {
    for seed in 1000..1060 {
        let (source, target) = (small("source"), small("target"));
        fill(seed, &source, &target).await;
        let (original, before) = (contents(&source), contents(&target));
        let faults = Faults { lying_page: 0.3, ..Faults::default() };
        let here = Arc::new(FaultyStore::new(source, faults, seed));
        let mut options = deleting();
        options.deletion.allow_empty_source = true;
        run_among_faults(here, target.clone(), options).await;
        let after = contents(&target);
        let lost = before.keys().find(|key| original.contains_key(*key) && !after.contains_key(*key));
        assert_eq!(lost, None, "seed {seed}");
    }
}

#[tokio::test]
async fn a_stopped_job_goes_on_where_it_was() {
    let (source, target) = (small("source"), small("target"));
    for number in 0..300 {
        put(source.as_ref(), &format!("object{number:04}"), &[number as u8; 100]).await;
    }
    let journal = Arc::new(MemoryJournal::new().unwrap());
    let broken = Faults { unavailable: 0.4, ..Faults::default() };
    let mut options = options();
    options.copy.retry.attempts = 2;
    let mut runs = 0;
    loop {
        runs += 1;
        let faults = if runs < 6 { broken } else { Faults::default() };
        let here = Arc::new(FaultyStore::new(source.clone(), faults, runs));
        let summary =
            Job::new(here, target.clone(), options.clone()).run(journal.clone(), Arc::new(Silent)).await.unwrap();
        if summary.complete {
            assert!(runs > 1, "the first run was stopped");
            let there = contents(&target).len() as u64;
            assert!(there + summary.counts.failed >= 300, "what failed is told: {there} {:?}", summary.counts);
            return;
        }
    }
}

#[tokio::test]
async fn a_job_goes_on_with_its_journal_on_disk_and_finishes_it() {
    let (source, target) = (small("source"), small("target"));
    for number in 0..300 {
        put(source.as_ref(), &format!("object{number:04}"), &[number as u8; 100]).await;
    }
    put(target.as_ref(), "surplus", b"x").await;
    let root = tempfile::tempdir().unwrap();
    let url = root.path().join("journal").to_str().unwrap().parse().unwrap();
    let mut options = deleting();
    options.copy.retry.attempts = 2;
    for seed in 0.. {
        let broken = Faults { unavailable: 0.4, ..Faults::default() };
        let faults = if seed < 6 { broken } else { Faults::default() };
        let here = Arc::new(FaultyStore::new(source.clone(), faults, seed));
        let job = Job::new(here, target.clone(), options.clone());
        let journal = Arc::new(EngineJournal::at(&url, JournalOptions::new(Sharing::Alone)).await.unwrap());
        let summary = job.run(journal.clone(), Arc::new(Silent)).await.unwrap();
        journal.audit().await.unwrap();
        if summary.complete {
            assert!(summary.counts.copied + summary.counts.skipped + summary.counts.failed >= 300);
            assert_eq!((summary.counts.source_entries, summary.counts.deleted), (300, 1), "each is counted once");
            assert_eq!(journal.open(&job.identity()).await.unwrap(), Opened::Finished(summary.counts));
            return;
        }
        journal.close().await.unwrap();
    }
}

#[tokio::test]
async fn directories_become_objects_where_there_are_none() {
    let (source, target) = (Arc::new(MemoryStore::files("files")), small("objects"));
    let request = PutRequest { kind: Kind::Directory, ..PutRequest::object(key("dir/"), 0) };
    source.put(&request, Body::empty()).await.unwrap();
    let (summary, _) = run(source.clone(), target.clone(), options()).await;
    assert!(summary.is_clean());
    assert_eq!(target.snapshot()[&key("dir/")].0.entry.kind, Kind::Object);
    let (summary, _) = run(source, target, options()).await;
    assert_eq!(summary.counts.skipped, 1);
}

/// A store of numbered keys that are made up as they are listed.
#[derive(Debug)]
struct Numbered {
    capabilities: crate::store::Capabilities,
    count: u64,
}

#[async_trait::async_trait]
impl Store for Numbered {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn capabilities(&self) -> &crate::store::Capabilities {
        &self.capabilities
    }

    async fn list(&self, request: &crate::store::ListRequest) -> crate::Result<crate::store::ListPage> {
        let start = request.range.start();
        let digits = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        let first = match start.strip_prefix(b"numbered/object-") {
            Some(rest) => digits(&rest[..rest.len().min(10)]).map_or(0, |number| number + u64::from(rest.len() > 10)),
            None if start.as_ref() <= &b"numbered/object-"[..] => 0,
            None => self.count,
        };
        let entry = |number| {
            let key = Key::new(format!("numbered/object-{number:010}").into_bytes()).unwrap();
            let modified = Some(crate::Timestamp::new(1, 0));
            crate::Entry {
                modified,
                etag: Some(crate::ETag::new("\"0123456789abcdef\"")),
                ..crate::Entry::object(key, 7)
            }
        };
        let entries: Vec<_> = (first..self.count)
            .take(request.limit)
            .map(entry)
            .take_while(|entry| request.range.contains(entry.key.as_bytes()))
            .collect();
        let full = entries.len() == request.limit;
        Ok(if full { crate::store::ListPage::with_more(entries) } else { crate::store::ListPage::last(entries) })
    }

    async fn head(&self, _: &Key, _: crate::AttributeSet) -> crate::Result<crate::Object> {
        unreachable!("nothing differs")
    }

    async fn read(&self, _: &crate::store::ReadRequest) -> crate::Result<crate::store::Reading> {
        unreachable!("nothing differs")
    }
}

/// How many pairs a second are listed, merged and compared: run with `--release --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn pairs_a_second() {
    let count = 3_000_000;
    let numbered = || -> Arc<dyn Store> {
        let capabilities =
            crate::store::Capabilities { seek: Seek::Anywhere, ..crate::store::Capabilities::read_only() };
        Arc::new(Numbered { capabilities, count })
    };
    for workers in [1, 4] {
        let began = std::time::Instant::now();
        let (summary, _) = run(numbered(), numbered(), JobOptions { workers, ..options() }).await;
        assert_eq!((summary.counts.skipped, summary.complete), (count, true), "{summary:?}");
        let rate = count as f64 / began.elapsed().as_secs_f64();
        println!("{workers} workers: {rate:.0} pairs a second, both listings made up here included");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}
