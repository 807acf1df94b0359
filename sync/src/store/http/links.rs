//! What a link of a directory's index is: a name in that very directory, or something else.

use crate::store::transport::encode;

/// Where an index came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    /// The host and port, as in addresses.
    pub(super) authority: &'a str,
    /// The directory's path, decoded, with slashes around it.
    pub(super) path: &'a [u8],
}

/// What a link is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// A name in the directory; one of a directory without its slash.
    Child { name: Vec<u8>, directory: bool },
    /// The directory itself or one above it, another server, an order of the index, a place in the page.
    Elsewhere,
    /// A name in the directory that none can have.
    Odd(Vec<u8>),
}

/// Reads a link, as it is written in the index but for the entities of HTML.
pub(super) fn link(place: Place<'_>, written: &str) -> Link {
    let written = written.trim();
    // A name's question mark is encoded: this is an order of the index. A fragment is a place in the page.
    if written.contains('?') || written.starts_with('#') || written.is_empty() {
        return Link::Elsewhere;
    }
    let written = written.split('#').next().unwrap_or_default();
    let Some(relative) = relative(place, written) else { return Link::Elsewhere };
    let (segment, directory) = match relative.strip_suffix('/') {
        Some(segment) => (segment, true),
        None => (relative.as_str(), false),
    };
    // What is further down is told by the index there.
    if segment.is_empty() || segment.contains('/') {
        return Link::Elsewhere;
    }
    let Some(name) = encode::decode_path(segment) else { return Link::Odd(segment.as_bytes().to_vec()) };
    match name.as_ref() {
        b"." | b".." => Link::Elsewhere,
        name if name.contains(&b'/') || name.contains(&0) => Link::Odd(name.to_vec()),
        name => Link::Child { name: name.to_vec(), directory },
    }
}

/// The link from the directory on, still encoded; none if it leads elsewhere.
fn relative(place: Place<'_>, written: &str) -> Option<String> {
    let whole = format!("{}://{}/", place.scheme, place.authority);
    if let Some(path) = written.strip_prefix(&whole) {
        return below(place, path);
    }
    if written.starts_with("//") {
        return None;
    }
    if let Some(path) = written.strip_prefix('/') {
        return below(place, path);
    }
    let mut relative = written;
    while let Some(rest) = relative.strip_prefix("./") {
        relative = rest;
    }
    // A colon in the first segment ends a scheme, unless `./` is before it.
    let first = relative.split('/').next().unwrap_or_default();
    if relative == written && first.contains(':') {
        return None;
    }
    Some(relative.to_owned())
}

/// The rest of a server's path, which has no slash before it, after the directory's.
fn below(place: Place<'_>, path: &str) -> Option<String> {
    let mut rest = path;
    let mut above = b"/".to_vec();
    while above.len() < place.path.len() {
        let (segment, after) = rest.split_once('/')?;
        above.extend_from_slice(&encode::decode_path(segment)?);
        above.push(b'/');
        rest = after;
    }
    (above == place.path).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Link {
        link(Place { scheme: "http", authority: "h:1", path: b"/pub/a b/" }, written)
    }

    fn child(name: &str, directory: bool) -> Link {
        Link::Child { name: name.as_bytes().to_vec(), directory }
    }

    #[test]
    fn names_of_the_directory_are_found_however_they_are_written() {
        for written in ["x%20y", "./x%20y", "/pub/a%20b/x%20y", "http://h:1/pub/a%20b/x%20y", " x%20y "] {
            assert_eq!(read(written), child("x y", false), "{written}");
        }
        assert_eq!(read("dir/"), child("dir", true));
        assert_eq!(read("a%3Ab%3F%23"), child("a:b?#", false));
        assert_eq!(read("./a:b"), child("a:b", false));
        assert_eq!(read("plus+é"), child("plus+é", false));
        assert_eq!(read("%FF"), Link::Child { name: vec![0xFF], directory: false });
    }

    #[test]
    fn all_else_is_elsewhere() {
        for written in [
            "../",
            "..",
            "./",
            ".",
            "",
            "/",
            "/pub/",
            "/pub/a%20b/",
            "?C=N;O=D",
            "x?y=1",
            "#top",
            "//other/x",
            "mailto:x",
            "http://other/pub/a%20b/x",
            "https://h:1/pub/a%20b/x",
            "/etc/passwd",
            "../../x",
            "%2e%2e/",
            "%2E%2E",
            "a/b",
            "/pub/a%20b/c/d",
            "javascript:go()",
            "a/../../x",
        ] {
            assert_eq!(read(written), Link::Elsewhere, "{written}");
        }
    }

    #[test]
    fn names_that_none_can_have_are_odd() {
        for written in ["..%2fx", "a%2Fb", "nul%00", "%zz", "%2F"] {
            assert!(matches!(read(written), Link::Odd(_)), "{written}");
        }
    }
}
