//! Indexes of directories as common servers write them, read as they come: HTML of nginx, Apache, lighttpd and Python,
//! and JSON of nginx and Caddy. Whatever is none of these, or is cut, is an error; nothing is kept but one tag.

use super::html::{Piece, Scanner};

/// How the titles of indexes begin.
const TITLES: [&str; 3] = ["index of", "directory listing for", "directory: "];
/// The longest object of a list in JSON: a name of 1,024 bytes, each written as `\uXXXX`, and what is around it.
const MAX_OBJECT_BYTES: usize = 64 * 1024;

/// A name as an index tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// A link, encoded as links are.
    Link(&'a str),
    /// A name as it is.
    Name { name: &'a str, directory: bool },
}

/// Reads one index.
#[derive(Debug)]
pub(super) enum Index {
    Html { scanner: Scanner, known: bool, ended: bool },
    Json(Objects),
}

type Result<T> = std::result::Result<T, String>;

impl Index {
    /// By the kind of contents that the server tells.
    pub(super) fn new(content_type: &str) -> Result<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "text/html" | "application/xhtml+xml" => {
                Ok(Self::Html { scanner: Scanner::default(), known: false, ended: false })
            }
            "application/json" => Ok(Self::Json(Objects::default())),
            other => Err(format!("it is {other:?} and no index of a directory")),
        }
    }

    /// Takes the next bytes and tells the names in them.
    pub(super) fn feed(&mut self, bytes: &[u8], mut tell: impl FnMut(Told<'_>)) -> Result<()> {
        match self {
            Self::Html { scanner, known, ended } => scanner.feed(bytes, |piece| match piece {
                Piece::Title(title) => {
                    let title = title.trim().to_ascii_lowercase();
                    *known |= TITLES.iter().any(|known| title.starts_with(known));
                }
                Piece::Link(link) if *known => tell(Told::Link(link)),
                Piece::Link(_) => {}
                Piece::End => *ended = true,
            }),
            Self::Json(objects) => objects.feed(bytes, |object| {
                let (name, directory) = entry(object)?;
                tell(Told::Name { name: name.strip_suffix('/').filter(|_| directory).unwrap_or(&name), directory });
                Ok(())
            }),
        }
    }

    /// Whether it was an index, and whole.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Html { known: false, .. } => Err("its page is no index of a directory that is known".to_owned()),
            Self::Html { ended: false, .. } => Err("its index is cut".to_owned()),
            Self::Json(objects) if objects.list != List::After => Err("its index is cut, or no list".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The name of an entry, and whether it is a directory.
fn entry(object: &[u8]) -> Result<(String, bool)> {
    let value: serde_json::Value = serde_json::from_slice(object).map_err(|error| format!("it is no JSON: {error}"))?;
    let name = value["name"].as_str().ok_or("an entry of its index has no name")?;
    let directory = match (&value["type"], &value["is_dir"]) {
        (serde_json::Value::String(kind), _) => kind == "directory",
        (_, serde_json::Value::Bool(directory)) => *directory,
        _ => return Err(format!("its index does not tell what {name:?} is")),
    };
    Ok((name.to_owned(), directory))
}

/// The objects of a list in JSON, one after another.
#[derive(Debug, Default)]
pub(super) struct Objects {
    object: Vec<u8>,
    depth: usize,
    in_text: bool,
    escaped: bool,
    list: List,
}

/// How far the list has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum List {
    #[default]
    Before,
    Inside,
    After,
}

impl Objects {
    fn feed(&mut self, bytes: &[u8], mut tell: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for &byte in bytes {
            if self.depth > 0 {
                self.inside(byte, &mut tell)?;
                continue;
            }
            match (self.list, byte) {
                (List::Before, b'[') => self.list = List::Inside,
                (List::Inside, b'{') => {
                    self.object.push(byte);
                    self.depth = 1;
                }
                (List::Inside, b']') => self.list = List::After,
                (List::Inside, b',') => {}
                (_, byte) if byte.is_ascii_whitespace() => {}
                _ => return Err("its index is no list of objects".to_owned()),
            }
        }
        Ok(())
    }

    fn inside(&mut self, byte: u8, tell: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.object.len() == MAX_OBJECT_BYTES {
            return Err("an entry of its index is too long".to_owned());
        }
        self.object.push(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' if !self.in_text => self.depth += 1,
            b'}' if !self.in_text => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            tell(&self.object)?;
            self.object.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, however the bytes are cut.
    fn read(kind: &str, text: &str) -> Result<Vec<String>> {
        let once = |size: usize| {
            let (mut index, mut told) = (Index::new(kind)?, Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                index.feed(chunk, |one| {
                    told.push(match one {
                        Told::Link(link) => link.to_owned(),
                        Told::Name { name, directory } => format!("{name}{}", if directory { "/" } else { "" }),
                    });
                })?;
            }
            index.finish().map(|()| told)
        };
        let whole = once(text.len().max(1));
        assert_eq!(once(1), whole);
        whole
    }

    const NGINX: &str = "<html>\r\n<head><title>Index of /d/</title></head>\r\n<body>\r\n<h1>Index of /d/</h1><hr><pre><a href=\"../\">../</a>\r\n\
                         <a href=\"sub/\">sub/</a>   24-May-2013 00:00    -\r\n<a href=\"a%20b.txt\">a b.txt</a>  24-May-2013 00:00  5\r\n</pre><hr></body>\r\n</html>\r\n";
    const APACHE: &str = "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n  <title>Index of /d</title>\n </head>\n <body>\n<h1>Index of /d</h1>\n  <table>\n   <tr><th valign=\"top\"><img src=\"/icons/blank.gif\" alt=\"[ICO]\"></th><th><a href=\"?C=N;O=D\">Name</a></th></tr>\n<tr><td><a href=\"/\">Parent Directory</a></td></tr>\n<tr><td><a href=\"a&amp;b\">a&amp;b</a></td></tr>\n</table>\n</body></html>\n";
    const PYTHON: &str = "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Directory listing for /d/</title>\n</head>\n<body>\n<h1>Directory listing for /d/</h1>\n<hr>\n<ul>\n<li><a href=\"x\">x</a></li>\n<li><a href='y%3E'>y&gt;</a></li>\n</ul>\n<hr>\n</body>\n</html>\n";

    #[test]
    fn links_of_known_indexes_are_told() {
        assert_eq!(read("text/html", NGINX).unwrap(), ["../", "sub/", "a%20b.txt"]);
        assert_eq!(read("text/html;charset=UTF-8", APACHE).unwrap(), ["?C=N;O=D", "/", "a&b"]);
        assert_eq!(read("Text/HTML", PYTHON).unwrap(), ["x", "y%3E"]);
    }

    #[test]
    fn lists_in_json_are_told() {
        let nginx = "[\r\n{ \"name\":\"sub\", \"type\":\"directory\", \"mtime\":\"x\" },\r\n\
                     { \"name\":\"a\\\"}{b\\u00e9\", \"type\":\"file\", \"size\":5 }\r\n]\r\n";
        assert_eq!(read("application/json", nginx).unwrap(), ["sub/", "a\"}{bé"]);
        let caddy =
            "[{\"name\":\"sub/\",\"size\":1,\"url\":\"./sub/\",\"is_dir\":true},{\"name\":\"x\",\"is_dir\":false}]";
        assert_eq!(read("application/json", caddy).unwrap(), ["sub/", "x"]);
        assert!(read("application/json", "[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_index_or_not_whole_is_an_error() {
        for (kind, text) in [
            ("text/html", "<html><title>Welcome</title><a href=\"x\">x</a></html>"),
            ("text/html", "<html><a href=\"x\">x</a></html>"),
            ("text/html", &NGINX[..NGINX.len() - 12]),
            ("text/html", ""),
            ("text/plain", NGINX),
            ("application/json", "[{\"name\":\"x\",\"type\":\"file\"}"),
            ("application/json", "[{\"name\":\"x\"}]"),
            ("application/json", "[{\"type\":\"file\"}]"),
            ("application/json", "{\"name\":\"x\",\"type\":\"file\"}"),
            ("application/json", "[\"x\"]"),
            ("application/json", ""),
        ] {
            assert!(read(kind, text).is_err(), "{text}");
        }
    }
}
