//! What a filter leaves out as a whole is not listed.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::tests::put;
use super::*;
use crate::entry::Entry;
use crate::error::Result as StoreResult;
use crate::filter::{FilterSpec, Rule};
use crate::journal::MemoryJournal;
use crate::key::Key;
use crate::outcome::Silent;
use crate::store::layer::Layer;
use crate::store::{ListPage, ListRequest, LocalOptions, LocalStore, MemoryStore};

const PAGE: usize = 10;
/// Objects in each of three directories.
const OBJECTS: usize = 1_000;

/// Counts pages, and keys that were looked at alone.
#[derive(Debug)]
struct Counted {
    store: MemoryStore,
    requests: AtomicUsize,
}

impl Counted {
    async fn filled(name: &str, present: impl Fn(&str) -> bool) -> Arc<Self> {
        let store = MemoryStore::objects(name).with_capabilities(|can| can.page_entries = PAGE);
        for directory in ["a", "m", "z"] {
            for number in 0..OBJECTS {
                let name = format!("{directory}/{number:04}");
                if present(&name) {
                    put(&store, &name, b"").await;
                }
            }
        }
        Arc::new(Self { store, requests: AtomicUsize::new(0) })
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Layer for Counted {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn list(&self, request: &ListRequest) -> StoreResult<ListPage> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.store.list(request).await
    }

    async fn look(&self, key: &Key) -> StoreResult<Option<Entry>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.store.look(key).await
    }
}

/// A job with deletion between a source that lacks some objects and a target that lacks others.
async fn run(spec: FilterSpec) -> (Summary, [Arc<Counted>; 2]) {
    let source = Counted::filled("source", |name| name != "m/0500").await;
    let target = Counted::filled("target", |name| name != "m/0700" && name != "z/0001").await;
    let mut options = JobOptions { workers: 1, filter: Filter::new(spec).unwrap(), ..JobOptions::default() };
    options.policy.delete = true;
    let job = Job::new(Arc::clone(&source) as Arc<dyn Store>, Arc::clone(&target) as Arc<dyn Store>, options);
    let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    (summary, [source, target])
}

#[tokio::test]
async fn keys_of_a_list_are_looked_at_alone() {
    let only = ["a/0001", "m/0500", "m/0700", "q"].map(|name| Key::try_from(name).unwrap());
    let (summary, sides) = run(FilterSpec { only: Some(only.into()), ..FilterSpec::default() }).await;
    let counts = summary.counts;
    assert_eq!((counts.skipped, counts.copied, counts.deleted, counts.filtered), (1, 1, 1, 0), "{counts:?}");
    assert!(sides.iter().all(|side| side.requests() <= 8), "{sides:?}");
}

#[tokio::test]
async fn of_what_is_included_alone_nothing_else_is_listed() {
    let rules = vec![Rule::Include("/m/*".into()), Rule::Exclude("**".into())];
    let (summary, sides) = run(FilterSpec { rules, ..FilterSpec::default() }).await;
    let counts = summary.counts;
    let skipped = OBJECTS as u64 - 2;
    assert_eq!((counts.skipped, counts.copied, counts.deleted, counts.filtered), (skipped, 1, 1, 0), "{counts:?}");
    assert!(sides.iter().all(|side| side.requests() <= OBJECTS / PAGE + 5));
}

#[tokio::test]
async fn behind_the_first_page_of_a_directory_that_is_left_out_the_listing_goes_on() {
    let rules = vec![Rule::Exclude("m/".into()), Rule::Exclude("/a/**".into())];
    let (summary, sides) = run(FilterSpec { rules, ..FilterSpec::default() }).await;
    let counts = summary.counts;
    assert_eq!((counts.skipped, counts.copied, counts.deleted), (OBJECTS as u64 - 1, 1, 0), "{counts:?}");
    assert!(sides.iter().all(|side| side.requests() <= OBJECTS / PAGE + 10));
}

#[tokio::test]
async fn directories_above_what_is_chosen_get_their_times_and_those_that_are_left_out_do_not() {
    let [source, target] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    for directory in ["d", "d/e", "out"] {
        std::fs::create_dir(source.path().join(directory)).unwrap();
        std::fs::write(source.path().join(directory).join("file"), "x").unwrap();
    }
    for directory in ["d/e", "d", "out"] {
        std::fs::File::open(source.path().join(directory)).unwrap().set_modified(long_ago).unwrap();
    }
    std::fs::create_dir(target.path().join("out")).unwrap();
    let is_old = |name: &str| std::fs::metadata(target.path().join(name)).unwrap().modified().unwrap() == long_ago;
    let only = FilterSpec { only: Some([Key::try_from("d/e/file").unwrap()].into()), ..FilterSpec::default() };
    let without = FilterSpec { rules: vec![Rule::Exclude("/out/".into())], ..FilterSpec::default() };
    for (spec, copied) in [(only, 1), (without, 1)] {
        let [source, target] = [source.path(), target.path()]
            .map(|path| Arc::new(LocalStore::open(path, LocalOptions::default()).unwrap()) as Arc<dyn Store>);
        let options = JobOptions { filter: Filter::new(spec).unwrap(), ..JobOptions::default() };
        let job = Job::new(source, target, options);
        let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
        assert_eq!((summary.counts.copied, summary.is_clean()), (copied, true), "{summary:?}");
        assert!(is_old("d") && is_old("d/e") && !is_old("out"));
    }
}
