//! XML as object stores answer with it: a walk over elements and their texts, bounded in depth, whole or an error; and
//! the few documents that are sent.

use std::borrow::Cow;
use std::fmt::Write;

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::encode;

/// No answer of these stores is deeper.
const MAX_DEPTH: usize = 16;

/// What a walk meets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// The start of an element that has others in it.
    Open(&'a str),
    /// An element that has only text, which may be empty.
    Leaf(&'a str, Cow<'a, str>),
    /// The end of an element that was opened.
    Close(&'a str),
}

/// Walks over a whole document. The text of an element that is marked as encoded, as Azure marks names that XML cannot
/// carry, is decoded. What is wrong with it, or with what `visit` meets, is told.
pub(crate) fn walk<'a>(
    document: &'a [u8],
    mut visit: impl FnMut(Node<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let document = std::str::from_utf8(document).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(document);
    let mut walk = Walk { open: Vec::new(), leaf: false, encoded: false, text: Cow::Borrowed(""), ended: false };
    loop {
        let at = reader.buffer_position() as usize;
        match reader.read_event().map_err(|error| format!("it is no XML: {error}"))? {
            Event::Start(tag) => {
                walk.start(name_at(document, at, tag.name().as_ref())?, &mut visit)?;
                walk.encoded = is_encoded(&tag);
            }
            Event::End(_) => walk.end(&mut visit)?,
            Event::Empty(tag) => {
                walk.start(name_at(document, at, tag.name().as_ref())?, &mut visit)?;
                walk.end(&mut visit)?;
            }
            Event::Text(text) => walk.add(text.xml10_content().map_err(|error| error.to_string())?),
            Event::CData(text) => walk.add(text.xml10_content().map_err(|error| error.to_string())?),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| error.to_string())?;
                let known = match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(character) => Cow::Owned(character.to_string()),
                    None => Cow::Borrowed(resolve_predefined_entity(&name).ok_or("it has an unknown entity")?),
                };
                walk.add(known);
            }
            Event::DocType(_) => return Err("it has a document type".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if walk.ended => return Ok(()),
            Event::Eof => return Err("it ends early".to_owned()),
        }
    }
}

/// The local name of a tag that begins at this place, as a slice of the document, which outlives the event.
fn name_at<'a>(document: &'a str, tag: usize, name: &[u8]) -> Result<&'a str, String> {
    let name = document.get(tag + 1..tag + 1 + name.len()).filter(|found| found.as_bytes() == name);
    let name = name.ok_or("it has a tag that cannot be read")?;
    Ok(name.rsplit(':').next().unwrap_or(name))
}

/// Whether a tag says that the text in it is percent-encoded.
fn is_encoded(tag: &BytesStart<'_>) -> bool {
    matches!(tag.try_get_attribute("Encoded"), Ok(Some(mark)) if mark.value.as_ref() == b"true")
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = encode::decode_path(text).map(Cow::into_owned);
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| format!("{text} is not encoded right"))
}

struct Walk<'a> {
    open: Vec<&'a str>,
    /// Whether nothing but text came since the last start.
    leaf: bool,
    /// Whether that text is encoded.
    encoded: bool,
    text: Cow<'a, str>,
    ended: bool,
}

impl<'a> Walk<'a> {
    fn start(&mut self, name: &'a str, visit: &mut impl FnMut(Node<'a>) -> Result<(), String>) -> Result<(), String> {
        if self.ended || self.open.len() == MAX_DEPTH {
            return Err("it has a second root or is too deep".to_owned());
        }
        if let Some(parent) = self.open.last().filter(|_| self.leaf) {
            visit(Node::Open(parent))?;
        }
        self.open.push(name);
        (self.leaf, self.encoded, self.text) = (true, false, Cow::Borrowed(""));
        Ok(())
    }

    fn end(&mut self, visit: &mut impl FnMut(Node<'a>) -> Result<(), String>) -> Result<(), String> {
        let name = self.open.pop().ok_or("it has an end without a start")?;
        let mut text = std::mem::take(&mut self.text);
        if self.leaf && self.encoded {
            text = decoded(&text)?.into();
        }
        visit(if self.leaf { Node::Leaf(name, text) } else { Node::Close(name) })?;
        (self.leaf, self.encoded) = (false, false);
        self.ended = self.open.is_empty();
        Ok(())
    }

    fn add(&mut self, more: Cow<'a, str>) {
        if !self.leaf {
            return;
        }
        if self.text.is_empty() {
            self.text = more;
        } else {
            self.text.to_mut().push_str(&more);
        }
    }
}

/// Every leaf of a document whose root has this name, as (parent, name, text); another root is an error.
pub(crate) fn leaves<'a>(
    document: &'a [u8],
    root: &str,
    mut visit: impl FnMut(&'a str, &'a str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut open: Vec<&'a str> = Vec::new();
    let is_root = |name: &str| if name == root { Ok(()) } else { Err(format!("it is a {name} and no {root}")) };
    walk(document, |node| {
        match node {
            Node::Open(name) if open.is_empty() => {
                is_root(name)?;
                open.push(name);
            }
            Node::Open(name) => open.push(name),
            Node::Close(_) => drop(open.pop()),
            Node::Leaf(name, text) => match open.last() {
                Some(parent) => visit(parent, name, &text)?,
                None => is_root(name)?,
            },
        }
        Ok(())
    })
}

/// A flat document: the leaves of its root, and the elements of the root that have leaves of their own.
#[derive(Debug, Default)]
pub(crate) struct Records<'a> {
    /// The root's own leaves.
    pub(crate) top: Record<'a>,
    /// The elements in it, by name.
    pub(crate) inner: Vec<(&'a str, Record<'a>)>,
}

/// The leaves of one element.
#[derive(Debug, Default)]
pub(crate) struct Record<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Record<'a> {
    /// The text of the leaf of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, text)| text)
    }

    /// All leaves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.0.iter().map(|(name, text)| (*name, text.as_ref()))
    }
}

impl<'a> Records<'a> {
    /// Reads a document whose root has this name.
    pub(crate) fn read(document: &'a [u8], root: &str) -> Result<Self, String> {
        let (mut records, mut depth) = (Self::default(), 0_usize);
        walk(document, |node| {
            match node {
                Node::Open(name) | Node::Leaf(name, _) if depth == 0 && name != root => {
                    return Err(format!("it is a {name} and no {root}"));
                }
                Node::Open(name) => {
                    if depth == 1 {
                        records.inner.push((name, Record::default()));
                    }
                    depth += 1;
                }
                Node::Close(_) => depth -= 1,
                Node::Leaf(name, text) if depth == 1 => records.top.0.push((name, text)),
                Node::Leaf(name, text) if depth == 2 => {
                    records.inner.last_mut().ok_or("it is odd")?.1.0.push((name, text));
                }
                Node::Leaf(..) => {}
            }
            Ok(())
        })?;
        Ok(records)
    }

    /// The elements of this name.
    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = &Record<'a>> {
        self.inner.iter().filter(move |(known, _)| *known == name).map(|(_, record)| record)
    }

    /// Whether more pages follow; a document that does not say so is not whole.
    pub(crate) fn is_truncated(&self) -> Result<bool, String> {
        let told = self.top.get("IsTruncated").and_then(|told| told.parse().ok());
        told.ok_or_else(|| "it does not say whether it is complete".to_owned())
    }
}

/// Writes `<name>text</name>`. Carriage returns are written as references, because parsers change bare ones.
pub(crate) fn element(document: &mut String, name: &str, text: &str) {
    write!(document, "<{name}>").expect("a string takes all that is written");
    for character in text.chars() {
        match character {
            '&' => document.push_str("&amp;"),
            '<' => document.push_str("&lt;"),
            '>' => document.push_str("&gt;"),
            '"' => document.push_str("&quot;"),
            '\r' => document.push_str("&#13;"),
            other => document.push(other),
        }
    }
    write!(document, "</{name}>").expect("a string takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(document: &str) -> Result<Vec<String>, String> {
        let mut met = Vec::new();
        walk(document.as_bytes(), |node| {
            met.push(match node {
                Node::Open(name) => format!("+{name}"),
                Node::Leaf(name, text) => format!("{name}={text}"),
                Node::Close(name) => format!("-{name}"),
            });
            Ok(())
        })?;
        Ok(met)
    }

    #[test]
    fn elements_and_texts_are_met_in_order() {
        let document =
            "<?xml version=\"1.0\"?>\n<r xmlns=\"x\">\n <a>1</a><b/><s:c><d>x &amp; &#13;&lt;</d></s:c>\n</r>\n";
        assert_eq!(nodes(document).unwrap(), ["+r", "a=1", "b=", "+c", "d=x & \r<", "-c", "-r"]);
        assert_eq!(nodes("<r/>").unwrap(), ["r="]);
        let encoded = "<r><N Encoded=\"true\">a%01+%25</N><N>a%01</N></r>";
        assert_eq!(nodes(encoded).unwrap(), ["+r", "N=a\u{1}+%", "N=a%01", "-r"]);
        assert!(nodes("<N Encoded=\"true\">%zz</N>").is_err());
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        let deep = "<a>".repeat(17) + &"</a>".repeat(17);
        for wrong in ["", "<a>", "<a><b></a>", "<a>&who;</a>", "<a/><b/>", "text", "<!DOCTYPE a><a/>", "</a>", &deep] {
            assert!(nodes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_root_is_checked() {
        let mut met = Vec::new();
        let document = "<R><A><K>k</K></A><T>t</T></R>";
        let see = |parent: &str, name: &str, text: &str| {
            met.push(format!("{parent}.{name}={text}"));
            Ok(())
        };
        leaves(document.as_bytes(), "R", see).unwrap();
        assert_eq!(met, ["A.K=k", "R.T=t"]);
        assert!(leaves(b"<html><p/></html>", "R", |_, _, _| Ok(())).is_err());
        assert!(leaves(b"<Error/>", "R", |_, _, _| Ok(())).is_err());
        leaves(b"<R/>", "R", |_, _, _| Ok(())).unwrap();
    }

    #[test]
    fn records_are_read() {
        let document =
            "<R><T>t</T><A><K>k</K><O><ID>no</ID></O></A><B/><A><K>l</K></A><IsTruncated>true</IsTruncated></R>";
        let records = Records::read(document.as_bytes(), "R").unwrap();
        assert_eq!(records.of("A").filter_map(|record| record.get("K")).collect::<Vec<_>>(), ["k", "l"]);
        assert_eq!((records.top.get("T"), records.is_truncated()), (Some("t"), Ok(true)));
        assert!(Records::read(document.as_bytes(), "S").is_err());
        assert!(Records::read(b"<R/>", "R").unwrap().is_truncated().is_err());
    }

    #[test]
    fn texts_are_escaped_so_that_they_come_back() {
        let mut document = "<r>".to_owned();
        element(&mut document, "K", "a&<>\"'\r\n]]>é");
        document.push_str("</r>");
        assert_eq!(nodes(&document).unwrap()[1], "K=a&<>\"'\r\n]]>é");
    }
}
