//! Every odd key on a disk, in any order of writing and deleting.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::job::{Job, JobOptions};
use crate::journal::MemoryJournal;
use crate::key_range::KeyRange;
use crate::outcome::Silent;
use crate::policy::ComparePolicy;
use crate::store::{CheckedListing, ListRequest, LocalOptions, LocalStore, MemoryStore, read_whole};

/// A directory, and every key that was put and not deleted.
struct Model {
    _directory: tempfile::TempDir,
    local: Arc<LocalStore>,
    store: Arc<dyn Store>,
    held: BTreeMap<Key, Vec<u8>>,
}

impl Model {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let local = Arc::new(LocalStore::open(directory.path(), LocalOptions::default()).unwrap());
        let store = Arc::new(EscapingStore::over(local.clone()));
        Self { store, local, _directory: directory, held: BTreeMap::new() }
    }

    async fn put(&mut self, key: &Key, bytes: &[u8], streamed: bool) {
        let request = PutRequest::object(key.clone(), bytes.len() as u64);
        let body = || {
            let whole = Body::Whole(bytes.to_vec().into());
            if streamed { Body::Stream { len: bytes.len() as u64, bytes: whole.into_stream() } } else { whole }
        };
        let mut put = self.store.put(&request, body()).await;
        if streamed && put.is_err() {
            put = self.store.put(&request, body()).await;
        }
        put.unwrap();
        self.held.insert(key.clone(), bytes.to_vec());
    }

    async fn delete(&mut self, key: &Key) {
        self.store.delete(std::slice::from_ref(key)).await.unwrap().remove(0).ok();
        self.held.remove(key);
    }

    /// Asserts that the listing is that of what is held, page by page, and that each is read as it was put.
    async fn check(&self, page: usize) {
        let mut listing = CheckedListing::new(self.store.clone(), KeyRange::all(), page);
        let mut listed = BTreeMap::new();
        while let Some(found) = listing.next_page().await.unwrap() {
            assert!(found.unlisted.is_empty(), "{:?}", found.unlisted);
            listed.extend(found.entries.into_iter().map(|entry| (entry.key.clone(), entry)));
        }
        // Directories are there because of what is in them.
        listed.retain(|key, entry| entry.kind != Kind::Directory || self.held.contains_key(key));
        assert_eq!(listed.keys().collect::<Vec<_>>(), self.held.keys().collect::<Vec<_>>());
        for (key, bytes) in self.held.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let identity = self.store.head(key, AttributeSet::NONE).await.unwrap().entry.identity();
            assert!(listed[key].identity().may_be(&identity));
            let reading = self.store.read(&ReadRequest::whole(key, &identity)).await.unwrap();
            assert_eq!((&reading.object.entry.key, identity.size), (key, bytes.len() as u64));
            assert_eq!(read_whole(reading.bytes, bytes.len()).await.unwrap(), bytes);
        }
    }
}

const ODD: [&str; 14] = [
    "a",
    "a/",
    "a/b",
    "a//b",
    "/a",
    ".",
    "./a",
    "a/..",
    "//",
    "n\0",
    ".farshore-keys",
    ".farshore-keys/a",
    "a/b/c",
    "b",
];

fn odd(number: usize) -> Key {
    if number == ODD.len() { Key::new(vec![b'l'; 300]).unwrap() } else { Key::try_from(ODD[number]).unwrap() }
}

#[tokio::test]
async fn every_odd_key_is_held_and_comes_back() {
    let mut model = Model::new();
    for number in 0..=ODD.len() {
        model.put(&odd(number), format!("bytes of {number}").as_bytes(), number % 2 == 0).await;
    }
    model.check(3).await;
    for number in (0..=ODD.len()).rev().step_by(2) {
        model.delete(&odd(number)).await;
    }
    model.check(1000).await;
}

#[tokio::test]
async fn a_file_among_escaped_names_that_is_none_is_told() {
    let model = Model::new();
    let stray = PutRequest::object(Key::try_from(".farshore-keys/my.notes").unwrap(), 1);
    model.local.put(&stray, Body::Whole("x".into())).await.unwrap();
    let page = model.store.list(&ListRequest::first(KeyRange::all())).await.unwrap();
    assert!(page.entries.is_empty() && page.unlisted.len() == 1 && page.unlisted[0].hides_keys, "{page:?}");
}

#[tokio::test]
async fn every_key_goes_to_a_disk_and_back() {
    let (model, there) = (Model::new(), Arc::new(MemoryStore::objects("there")));
    let here = Arc::new(MemoryStore::objects("here").with_capabilities(|can| can.preferred_put_bytes = 4096));
    for number in 0..=ODD.len() {
        // Every third is sent in parts.
        let bytes = vec![number as u8; if number % 3 == 0 { 20 << 20 } else { 20 + number }];
        let request = PutRequest::object(odd(number), bytes.len() as u64);
        here.put(&request, Body::Whole(bytes.into())).await.unwrap();
    }
    let run = async |source: Arc<dyn Store>, target: Arc<dyn Store>| {
        let policy = ComparePolicy { delete: true, ..ComparePolicy::default() };
        let job = Job::new(source, target, JobOptions { policy, ..JobOptions::default() });
        let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
        assert!(summary.is_clean(), "{summary:?}");
        summary.counts
    };
    let counts = run(here.clone(), model.store.clone()).await;
    assert_eq!(counts.copied, 1 + ODD.len() as u64);
    assert!(counts.keys_escaped >= 9, "{counts:?}");
    let counts = run(here.clone(), model.store.clone()).await;
    assert_eq!((counts.copied, counts.deleted), (0, 0));
    run(model.store.clone(), there.clone()).await;
    let bytes = |store: &MemoryStore| -> BTreeMap<Key, Bytes> {
        let held = store.snapshot().into_iter().map(|(key, (_, bytes))| (key, bytes));
        held.filter(|(_, bytes)| !bytes.is_empty()).collect()
    };
    assert!(bytes(&here) == bytes(&there), "a key or its bytes did not come back");
    here.delete(&[odd(3), odd(5)]).await.unwrap();
    assert_eq!(run(here, model.store.clone()).await.deleted, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_order_of_writing_and_deleting_keeps_every_key(
        steps in prop::collection::vec((0_usize..=ODD.len(), any::<bool>(), any::<bool>()), 1..30),
        page in 1_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for (number, (key, deletes, streamed)) in steps.into_iter().enumerate() {
                if deletes && number > 3 {
                    model.delete(&odd(key)).await;
                } else {
                    model.put(&odd(key), format!("write {number}").as_bytes(), streamed).await;
                }
            }
            model.check(page).await;
        });
    }
}
