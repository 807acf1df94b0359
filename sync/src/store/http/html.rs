//! A scanner of HTML that knows what an index of a directory is made of: its title, its links, and its end. It keeps one
//! tag or title at a time, of bounded length, however the bytes are cut.

/// The longest tag that is read: a link of 1,024 bytes, each encoded and again as an entity.
const MAX_TAG_BYTES: usize = 64 * 1024;
/// Bytes of a title that are kept.
const MAX_TITLE_BYTES: usize = 1024;

/// What is met.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The page's title.
    Title(&'a str),
    /// Where an `<a>` leads.
    Link(&'a str),
    /// `</html>`.
    End,
}

/// Where the scanner stands.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    tag: Vec<u8>,
    title: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// In a tag, and which quote is open in it.
    Tag(Option<u8>),
    Comment,
    Title,
    /// In a script or style, which has no tags but its end.
    Raw,
}

impl Scanner {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], mut tell: impl FnMut(Piece<'_>)) -> Result<(), String> {
        for &byte in bytes {
            match self.state {
                State::Text if byte == b'<' => self.begin_tag(None),
                State::Text => {}
                State::Title | State::Raw => self.raw(byte, &mut tell),
                State::Comment => {
                    self.keep(byte)?;
                    if self.tag.ends_with(b"-->") {
                        self.state = State::Text;
                    } else if self.tag.len() > 3 {
                        self.tag.drain(..self.tag.len() - 3);
                    }
                }
                State::Tag(Some(quote)) => {
                    self.keep(byte)?;
                    if byte == quote {
                        self.state = State::Tag(None);
                    }
                }
                State::Tag(None) if byte == b'>' => self.end_tag(&mut tell),
                State::Tag(None) => {
                    self.keep(byte)?;
                    if self.tag == b"!--" {
                        self.tag.clear();
                        self.state = State::Comment;
                    } else if matches!(byte, b'"' | b'\'') && self.tag.contains(&b'=') {
                        self.state = State::Tag(Some(byte));
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_tag(&mut self, quote: Option<u8>) {
        self.tag.clear();
        self.state = State::Tag(quote);
    }

    fn keep(&mut self, byte: u8) -> Result<(), String> {
        if self.tag.len() == MAX_TAG_BYTES {
            return Err("a tag of its page is too long".to_owned());
        }
        self.tag.push(byte);
        Ok(())
    }

    /// The text of a title, a script or a style, up to the tag that ends it.
    fn raw(&mut self, byte: u8, tell: &mut impl FnMut(Piece<'_>)) {
        self.title.push(byte);
        let ends = |end: &[u8]| {
            let tail = self.title.len().checked_sub(end.len()).map(|at| &self.title[at..]);
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
        };
        if self.state == State::Title && ends(b"</title>") {
            let title = String::from_utf8_lossy(&self.title[..self.title.len() - b"</title>".len()]);
            tell(Piece::Title(&unescaped(&title)));
            self.state = State::Text;
        } else if self.state == State::Raw && (ends(b"</script>") || ends(b"</style>")) {
            self.state = State::Text;
        } else if self.title.len() > MAX_TITLE_BYTES {
            // The beginning of a title is kept, of all else the end.
            let keep = if self.state == State::Title { MAX_TITLE_BYTES / 2 } else { 0 };
            self.title.drain(keep..self.title.len() - 16);
        }
    }

    fn end_tag(&mut self, tell: &mut impl FnMut(Piece<'_>)) {
        self.state = State::Text;
        let text = String::from_utf8_lossy(&self.tag);
        let name = text.split(|it: char| it.is_ascii_whitespace()).next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "a" => {
                if let Some(link) = attribute(&text[name.len()..], "href") {
                    tell(Piece::Link(&unescaped(link)));
                }
            }
            "title" | "script" | "style" => {
                self.title.clear();
                self.state = if name == "title" { State::Title } else { State::Raw };
            }
            "/html" => tell(Piece::End),
            _ => {}
        }
    }
}

/// The value of an attribute, as it is written.
fn attribute<'a>(mut rest: &'a str, wanted: &str) -> Option<&'a str> {
    let space = |it: char| it.is_ascii_whitespace() || it == '/';
    loop {
        rest = rest.trim_start_matches(space);
        let end = rest.find(|it: char| it.is_ascii_whitespace() || it == '=').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() && after.is_empty() {
            return None;
        }
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else {
            rest = after;
            continue;
        };
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => value.split_at(value.find(|it: char| it.is_ascii_whitespace()).unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// The text with the entities that servers write; any other stays as it is.
fn unescaped(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        let known = rest[at + 1..].split_once(';').and_then(|(name, after)| Some((entity(name)?, after)));
        let (character, after) = known.unwrap_or(('&', &rest[at + 1..]));
        plain.push(character);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let hexadecimal = number.strip_prefix(['x', 'X']).map(|digits| u32::from_str_radix(digits, 16).ok());
            char::from_u32(hexadecimal.unwrap_or_else(|| number.parse().ok())?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(html: &str) -> Vec<String> {
        let mut met = Vec::new();
        let mut scanner = Scanner::default();
        for byte in html.as_bytes() {
            let tell = |piece: Piece<'_>| met.push(format!("{piece:?}"));
            scanner.feed(std::slice::from_ref(byte), tell).unwrap();
        }
        met
    }

    #[test]
    fn titles_links_and_the_end_are_met() {
        let html = "<HTML><head><Title> a &amp; <b></TITLE><script>if (a<b) x(\"<a href='no'>\")</script></head>\
                    <!-- <a href=\"no\"> --><A class=x HREF=bare data-x='>' ><a\nhref = \"q&quot;&#39;&#x41;&who;\">t</a><a name=x></HTML>";
        assert_eq!(pieces(html), ["Title(\" a & <b>\")", "Link(\"bare\")", "Link(\"q\\\"'A&who;\")", "End"]);
    }

    #[test]
    fn a_tag_without_an_end_is_an_error_and_a_long_title_is_cut() {
        let mut scanner = Scanner::default();
        assert!(scanner.feed(format!("<a {}", "x".repeat(MAX_TAG_BYTES)).as_bytes(), |_| ()).is_err());
        let html = format!("<title>Index of {}</title>", "x".repeat(10_000));
        assert!(pieces(&html)[0].starts_with("Title(\"Index of xxx"));
    }
}
