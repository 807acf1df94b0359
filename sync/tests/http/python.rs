//! `python3 -m http.server`: a real server, which knows no ranges and no conditions but one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farshore_sync::store::http::{HttpOptions, HttpStore};
use farshore_sync::store::{Body, ByteRange, PutRequest, ReadRequest, Store, read_whole};
use farshore_sync::{AttributeSet, Key, KeyRange, StoreError};

use crate::site::{list, names};

struct Python {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Python {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Python {
    /// Serves a directory; none, said aloud, where there is no Python.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let port = farshore_ports::free();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1", "--directory"]).arg(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(child) = child else {
            writeln!(std::io::stderr(), "NOT RUN: HTTP on a real server: no `python3` on PATH")
                .expect("stderr is there");
            return None;
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_mins(1), "python does not answer at {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, port, dir })
    }

    fn store(&self, path: &str) -> Arc<HttpStore> {
        let address = format!("http://127.0.0.1:{}/{path}", self.port);
        let options = HttpOptions::at(&address.parse().expect("it is an address"), |_| None);
        Arc::new(HttpStore::new(&options.expect("it is a place")).expect("it can be opened"))
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it can be made");
        std::fs::write(path, bytes).expect("it can be written");
    }
}

fn key(text: &str) -> Key {
    Key::try_from(text).expect("it is a key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_is_listed_in_order_and_read() {
    let Some(python) = Python::start() else { return };
    let mut all = BTreeSet::new();
    for name in [
        "a-b",
        "a/b/c",
        "a/b-",
        "a.txt",
        "a0",
        "b c",
        "per%cent",
        "é",
        "q?x#y",
        "<&>\"'",
        "x:y",
        "dir/sub/.hidden",
        "b\\s",
    ] {
        python.write(&format!("root/{name}"), name.as_bytes());
        all.insert(name.to_owned());
    }
    for number in 0..150 {
        let name = format!("many/{}", number * 7919 % 1000);
        python.write(&format!("root/{name}"), b"");
        all.insert(name);
    }
    python.write("outside", b"");
    std::fs::create_dir_all(python.dir.path().join("root/empty")).expect("it can be made");
    std::os::unix::fs::symlink("nowhere", python.dir.path().join("root/dangling")).expect("it can be made");
    let store = python.store("root/");
    let all: Vec<String> = all.into_iter().collect();
    for limit in [1, 7, 1000] {
        let (entries, unlisted) = list(&store, KeyRange::all(), limit).await.expect("it is listed");
        assert_eq!(names(&entries), all, "in pages of {limit}");
        assert!(unlisted.iter().all(|one| one.place == "dangling" && !one.hides_keys), "{unlisted:?}");
    }
    for place in ["a", "a/", "a/b", "a/b0", "a0\0", "dir/sub/", "many/5", "z"] {
        let (entries, _) = list(&store, KeyRange::new(place.as_bytes().to_vec(), None), 9).await.expect("it is listed");
        let rest: Vec<_> = all.iter().filter(|name| name.as_str() >= place).cloned().collect();
        assert_eq!(names(&entries), rest, "from {place}");
    }
    for name in all.iter().filter(|name| !name.starts_with("many")) {
        let identity = store.head(&key(name), AttributeSet::NONE).await.expect("it is there").entry.identity();
        let reading = store.read(&ReadRequest::whole(&key(name), &identity)).await.expect("it can be read");
        assert_eq!(read_whole(reading.bytes, 100).await.expect("it is read").as_ref(), name.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_have_their_ranges_and_changes_are_seen() {
    let Some(python) = Python::start() else { return };
    let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at * 31 % 251) as u8).collect();
    python.write("file", &bytes);
    let store = python.store("");
    let identity = store.head(&key("file"), AttributeSet::NONE).await.expect("it is there").entry.identity();
    for (offset, len) in [(0, 700_000), (0, 1), (699_999, 1), (300_000, 200_000)] {
        let request = ReadRequest { range: ByteRange { offset, len }, ..ReadRequest::whole(&key("file"), &identity) };
        let reading = store.read(&request).await.expect("it can be read");
        let found = read_whole(reading.bytes, len as usize).await.expect("it is read");
        assert_eq!(found, Bytes::copy_from_slice(&bytes[offset as usize..(offset + len) as usize]));
    }
    // Its times have seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    python.write("file", &bytes[1..]);
    let result = store.read(&ReadRequest::whole(&key("file"), &identity)).await.map(drop);
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
    python.write("file", &bytes);
    let result = store.read(&ReadRequest::whole(&key("file"), &identity)).await.map(drop);
    assert!(matches!(result, Err(StoreError::Changed { .. })), "of the same size: {result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_file_is_a_store_of_one_and_nothing_is_written() {
    let Some(python) = Python::start() else { return };
    python.write("dir/a file.iso", b"bytes");
    python.write("dir/other", b"other");
    let store = python.store("dir/a%20file.iso");
    let (entries, _) = list(&store, KeyRange::all(), 10).await.expect("it is listed");
    assert_eq!((names(&entries), entries[0].size), (vec!["a file.iso".to_owned()], 5));
    let result = store.put(&PutRequest::object(key("x"), 0), Body::empty()).await;
    assert!(matches!(result, Err(StoreError::Unsupported { .. })), "{result:?}");
    for absent in ["dir/nothing/", "nothing/"] {
        let result = list(&python.store(absent), KeyRange::all(), 10).await.map(drop);
        assert!(matches!(result, Err(StoreError::Missing { .. })), "{absent}: {result:?}");
    }
    // A directory without its slash is told to be one.
    let result = list(&python.store("dir"), KeyRange::all(), 10).await.map(drop);
    assert!(result.as_ref().is_err_and(|error| error.to_string().contains("/dir/; name that address")), "{result:?}");
}
