//! An S3 server that has no objects and lists any number of them: it makes up each page when it is asked for it. What
//! a tool takes for listing and comparing is then the tool's own, and not that of a server's database.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use clap::ValueEnum;

/// What all keys are below.
pub(super) const PREFIX: &str = "listed";

/// How the keys look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// No slash in any.
    Flat,
    /// A thousand in each directory, a hundred of which are in one above.
    Deep,
}

/// What is listed: the same in every bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct MadeUp {
    pub(super) shape: Shape,
    pub(super) count: u64,
}

/// What a request for a page asks for.
#[derive(Debug, Default)]
struct Query {
    prefix: String,
    after: String,
    delimiter: bool,
    limit: usize,
    first_version: bool,
    encoded: bool,
}

/// Serves from now on, until the process ends; its address.
pub(super) fn serve(listed: MadeUp) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream, listed));
        }
    });
    Ok(endpoint)
}

/// Answers requests until the connection ends; an error ends it.
fn answer_all(stream: TcpStream, listed: MadeUp) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut header = String::new();
        while reader.read_line(&mut header).ok()? > 2 {
            header.clear();
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let body = if method == "GET" { listed.answer(path) } else { String::new() };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())).ok()?;
    }
}

impl MadeUp {
    fn answer(self, path: &str) -> String {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        if query.contains("location") {
            return "<LocationConstraint>us-east-1</LocationConstraint>".to_owned();
        }
        self.page(&Query::parse(query))
    }

    fn page(self, query: &Query) -> String {
        let mut body = String::with_capacity(query.limit * 260);
        body += "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>";
        if query.encoded {
            body += "<EncodingType>url</EncodingType>";
        }
        let mut at = self.after(query.after.as_str()).max(self.from(&query.prefix));
        let (mut told, mut last) = (0, String::new());
        while told < query.limit && at < self.count {
            let key = self.key(at);
            let Some(rest) = key.strip_prefix(&query.prefix) else {
                at = self.count;
                break;
            };
            told += 1;
            if let Some((directory, _)) = rest.split_once('/').filter(|_| query.delimiter) {
                last = format!("{}{directory}/", query.prefix);
                put(&mut body, format_args!("<CommonPrefixes><Prefix>{last}</Prefix></CommonPrefixes>"));
                at = self.after(&format!("{last}\u{10FFFF}"));
                continue;
            }
            put(
                &mut body,
                format_args!(
                    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                     <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>1024</Size>\
                     <StorageClass>STANDARD</StorageClass></Contents>"
                ),
            );
            last = key;
            at += 1;
        }
        let more = at < self.count && self.key(at).starts_with(&query.prefix);
        put(&mut body, format_args!("<KeyCount>{told}</KeyCount><IsTruncated>{more}</IsTruncated>"));
        if more && query.first_version {
            put(&mut body, format_args!("<NextMarker>{last}</NextMarker>"));
        } else if more {
            put(&mut body, format_args!("<NextContinuationToken>{last}</NextContinuationToken>"));
        }
        body + "</ListBucketResult>"
    }

    /// The key of this number; keys and their numbers are in one order.
    fn key(self, number: u64) -> String {
        match self.shape {
            Shape::Flat => format!("{PREFIX}/{number:010}"),
            Shape::Deep => {
                let (outer, inner, file) = (number / 100_000, number / 1_000 % 100, number % 1_000);
                format!("{PREFIX}/{outer:04}/{inner:02}/{file:03}")
            }
        }
    }

    /// The number of the first key that is not below this text.
    fn from(self, text: &str) -> u64 {
        self.first(|key| key >= text)
    }

    /// The number of the first key after this text.
    fn after(self, text: &str) -> u64 {
        if text.is_empty() { 0 } else { self.first(|key| key > text) }
    }

    fn first(self, is_there: impl Fn(&str) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if is_there(&self.key(middle)) { high = middle } else { low = middle + 1 }
        }
        low
    }
}

fn put(body: &mut String, text: std::fmt::Arguments<'_>) {
    body.write_fmt(text).expect("a string takes every text");
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parsed = Self { limit: 1000, first_version: true, ..Self::default() };
        for (name, value) in query.split('&').filter_map(|setting| setting.split_once('=')) {
            let value = decoded(value);
            match name {
                "prefix" => parsed.prefix = value,
                // The later of both counts, whichever comes first.
                "start-after" | "continuation-token" | "marker" => parsed.after = parsed.after.max(value),
                "delimiter" => parsed.delimiter = !value.is_empty(),
                "max-keys" => parsed.limit = value.parse().unwrap_or(1000).min(1000),
                "list-type" => parsed.first_version = false,
                "encoding-type" => parsed.encoded = true,
                _ => {}
            }
        }
        parsed
    }
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (*first, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (byte, _) => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
