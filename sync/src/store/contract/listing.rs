//! Checks of listings.

use std::sync::Arc;

use bytes::Bytes;

use super::{head, key, must, names, objects, put, put_all};
use crate::key_range::KeyRange;
use crate::store::{ListRequest, PageEnd, Store};

/// Names whose order by bytes is not the order by segments.
const NAMES: &[&str] =
    &["a-b", "a.txt", "a/b/c", "a/b-", "a/b.x", "a/b0", "a0", "b", "c/d", "c-d", "ca", "z/z/z/z", "é"];

fn sorted(names: &[&str]) -> Vec<String> {
    let mut sorted: Vec<_> = names.iter().map(ToString::to_string).collect();
    sorted.sort();
    sorted
}

pub(super) async fn an_empty_store_lists_nothing_and_says_so(store: Arc<dyn Store>) {
    let page = must(store.list(&ListRequest::first(KeyRange::all())).await);
    assert!(page.entries.is_empty());
    assert_eq!(page.end, PageEnd::Complete);
}

pub(super) async fn pages_make_up_the_listing_in_the_order_of_bytes(store: Arc<dyn Store>) {
    put_all(&store, NAMES).await;
    for limit in [1, 2, 3, 1000] {
        assert_eq!(names(&store, KeyRange::all(), limit).await, sorted(NAMES), "in pages of {limit}");
    }
}

pub(super) async fn a_page_may_start_anywhere(store: Arc<dyn Store>) {
    put_all(&store, NAMES).await;
    let all = sorted(NAMES);
    for (index, name) in all.iter().enumerate() {
        assert_eq!(names(&store, KeyRange::all().after(&key(name)), 2).await, all[index + 1..], "after {name}");
        let from = KeyRange::new(name.clone().into_bytes(), None);
        assert_eq!(names(&store, from, 2).await, all[index..], "from {name}");
    }
    // Places that are no key's, within a directory and beside it.
    for place in ["a", "a/", "a/b", "a/b/", "a/b0\0", "a/~", "b0", "c", "c/", "c/\u{7f}", "zz", "z/z/"] {
        let from = KeyRange::new(place.as_bytes().to_vec(), None);
        let rest: Vec<_> = all.iter().filter(|name| name.as_str() >= place).cloned().collect();
        assert_eq!(names(&store, from, 2).await, rest, "from {place}");
    }
}

pub(super) async fn ranges_have_their_keys_and_no_others(store: Arc<dyn Store>) {
    put_all(&store, NAMES).await;
    let all = sorted(NAMES);
    for prefix in ["a", "a/", "a/b", "c", "z/z", "q"] {
        let with: Vec<_> = all.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(names(&store, KeyRange::of_prefix(prefix.as_bytes()), 2).await, with, "prefix {prefix}");
    }
    let mut pieces = Vec::new();
    for bounds in ["", "a/", "a/b", "a/b.", "b", "c/d", "zz"].windows(2) {
        let range = KeyRange::new(bounds[0].as_bytes().to_vec(), Some(Bytes::copy_from_slice(bounds[1].as_bytes())));
        pieces.extend(names(&store, range, 1).await);
    }
    pieces.extend(names(&store, KeyRange::new("zz", None), 1).await);
    assert_eq!(pieces, all, "ranges that adjoin hold each key once");
}

pub(super) async fn entries_tell_what_a_head_tells(store: Arc<dyn Store>) {
    put(&store, "dir/object", &Bytes::from_static(b"some bytes")).await;
    let entries = objects(&store, KeyRange::all(), 1000).await;
    let [listed] = entries.as_slice() else { panic!("one object is listed") };
    let object = head(&store, &key("dir/object")).await;
    assert_eq!((listed.size, object.entry.size), (10, 10));
    assert_eq!(listed.kind, object.entry.kind);
    assert!(listed.identity().may_be(&object.entry.identity()), "{listed:?} {object:?}");
    assert_eq!(must(store.look(&listed.key).await).as_ref(), Some(listed));
    assert_eq!(must(store.look(&key("dir/object0")).await), None);
    assert_eq!(must(store.look(&key("dir/objec")).await), None);
}

pub(super) async fn many_names_in_one_directory_are_listed_once_each(store: Arc<dyn Store>) {
    let name = |index: usize| format!("many/{:04}", index * 7919 % 10_000);
    let mut all: Vec<_> = (0..257).map(name).collect();
    for name in &all {
        put(&store, name, &Bytes::new()).await;
    }
    all.sort();
    assert_eq!(names(&store, KeyRange::all(), 10).await, all);
}

/// Directories with few and with more names than a page has, some beside each other in another order than their names.
fn directories() -> Vec<String> {
    let sizes =
        [("d", 7), ("d-", 1), ("d-x/y", 4), ("d.e", 12), ("d/e", 3), ("d/e-", 9), ("d/f/g/h", 2), ("e", 5), ("f", 1)];
    let files =
        sizes.into_iter().flat_map(|(directory, count)| (0..count).map(move |file| format!("{directory}/{file:02}")));
    files.chain(["d!", "d0", "e!", "g"].map(ToOwned::to_owned)).collect()
}

pub(super) async fn directories_of_any_size_are_listed_whole(store: Arc<dyn Store>) {
    let mut all = directories();
    for name in &all {
        put(&store, name, &Bytes::new()).await;
    }
    all.sort();
    for limit in [1, 2, 3, 4, 5, 8, 13, 1000] {
        assert_eq!(names(&store, KeyRange::all(), limit).await, all, "in pages of {limit}");
    }
}

pub(super) async fn a_place_ahead_has_keys_on_both_sides(store: Arc<dyn Store>) {
    for name in directories() {
        put(&store, &name, &Bytes::new()).await;
    }
    for (limit, end) in [(2, None), (5, None), (3, Some("d/f")), (4, Some("d/e/01"))] {
        let range = KeyRange::new("", end.map(|end| Bytes::from_static(end.as_bytes())));
        let mut request = Some(ListRequest { limit, ..ListRequest::first(range.clone()) });
        while let Some(current) = request {
            let page = must(store.list(&current).await);
            request = current.following(&page);
            let (PageEnd::More { ahead: Some(ahead), .. }, Some(next)) = (page.end, &request) else { continue };
            assert!(next.range.contains(&ahead) && ahead > *next.range.start(), "{ahead:?} in {:?}", next.range);
            for half in [next.range.until(ahead.clone()), next.range.from(ahead)] {
                assert!(!names(&store, half.clone(), 1000).await.is_empty(), "there is nothing in {half:?}");
            }
        }
    }
}
