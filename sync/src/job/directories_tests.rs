//! Directories among objects: they are there before what is in them.

use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::entry::Kind;
use crate::error::Result as StoreResult;
use crate::journal::MemoryJournal;
use crate::key::Key;
use crate::outcome::Silent;
use crate::posix_metadata::TimeForm;
use crate::store::layer::Layer;
use crate::store::{Body, MemoryStore, PosixStore, PutRequest, Stored};

/// Objects that notes in which order they came; directories take long.
#[derive(Debug)]
struct SlowDirectories {
    store: MemoryStore,
    came: Mutex<Vec<Key>>,
}

#[async_trait]
impl Layer for SlowDirectories {
    fn below(&self) -> &dyn Store {
        &self.store
    }

    async fn put(&self, request: &PutRequest, body: Body) -> StoreResult<Stored> {
        if request.key.is_directory_name() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if request.key.as_bytes().ends_with(b"refused/") {
            return Err(StoreError::unholdable("objects", &request.key, "it is refused"));
        }
        let stored = self.store.put(request, body).await;
        self.came.lock().push(request.key.clone());
        stored
    }
}

/// In which order objects come to a target that makes something of those with which a directory comes.
async fn order(over: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Vec<Key> {
    let source = MemoryStore::files("files");
    for name in ["a-", "a/", "a/in/", "a/in/file", "a/refused/", "a/refused/file", "a/x", "b", "c/", "c/file"] {
        let kind = if name.ends_with('/') { Kind::Directory } else { Kind::Object };
        let request = PutRequest { kind, ..PutRequest::object(Key::try_from(name).unwrap(), 0) };
        source.put(&request, Body::empty()).await.unwrap();
    }
    let objects = Arc::new(SlowDirectories { store: MemoryStore::objects("objects"), came: Mutex::default() });
    let target = over(Arc::clone(&objects) as Arc<dyn Store>);
    let job = Job::new(Arc::new(source), target, JobOptions::default());
    let summary = job.run(Arc::new(MemoryJournal::new().unwrap()), Arc::new(Silent)).await.unwrap();
    assert_eq!((summary.counts.copied, summary.counts.failed), (9, 1), "{summary:?}");
    objects.came.lock().clone()
}

#[tokio::test]
async fn a_directory_is_there_before_what_is_in_it() {
    for came in
        [order(|objects| objects).await, order(|objects| Arc::new(PosixStore::over(objects, TimeForm::Seconds))).await]
    {
        let place = |name: &str| came.iter().position(|key| key.as_bytes() == name.as_bytes()).unwrap();
        for (directory, inside) in [("a/", "a/in/"), ("a/in/", "a/in/file"), ("a/", "a/x"), ("c/", "c/file")] {
            assert!(place(directory) < place(inside), "{inside} came before {directory}: {came:?}");
        }
        assert!(place("b") < place("a/"), "what is elsewhere does not wait: {came:?}");
    }
}
