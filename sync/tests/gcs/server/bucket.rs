//! The bucket: its objects and uploads.

use std::collections::BTreeMap;

use farshore_sync::{Algorithm, checksum_of};

use super::encoding::{base64, hex};

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Vec<u8>,
    pub(super) generation: u64,
    pub(super) etag: String,
    /// Whether it was made in parts: then no MD5 is known.
    pub(super) composite: bool,
    /// Content headers, metadata and class, as they are answered.
    pub(super) kept: Vec<(String, String)>,
}

/// An upload in parts.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: Vec<u8>,
    pub(super) kept: Vec<(String, String)>,
    pub(super) parts: BTreeMap<u32, Vec<u8>>,
}

/// All there is.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<Vec<u8>, Object>,
    pub(super) uploads: BTreeMap<u64, Upload>,
    writes: u64,
}

impl Bucket {
    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.writes += 1;
        1_700_000_000_000_000 + self.writes
    }

    /// The number of a key's state; 0 is that of nothing.
    pub(super) fn generation(&self, key: &[u8]) -> u64 {
        self.objects.get(key).map_or(0, |object| object.generation)
    }

    pub(super) fn store(
        &mut self,
        key: &[u8],
        bytes: Vec<u8>,
        kept: Vec<(String, String)>,
        composite: bool,
    ) -> &Object {
        let generation = self.next_number();
        let etag = if composite { format!("-C{generation}=") } else { hex(&hash(Algorithm::Md5, &bytes)) };
        let object = Object { bytes, generation, etag, composite, kept };
        self.objects.insert(key.to_vec(), object);
        &self.objects[key]
    }
}

impl Object {
    /// When it was stored, on the only day there is: each generation has a second of its own.
    pub(super) fn time(&self) -> String {
        let (hour, minute, second) = (self.generation / 3600 % 24, self.generation / 60 % 60, self.generation % 60);
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// The headers of every answer about it.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let crc = base64(&hash(Algorithm::Crc32c, &self.bytes));
        let mut headers = vec![
            ("ETag".to_owned(), format!("\"{}\"", self.etag)),
            ("x-goog-generation".to_owned(), self.generation.to_string()),
            ("Last-Modified".to_owned(), format!("Fri, 24 May 2013 {} GMT", self.time())),
            ("x-goog-hash".to_owned(), format!("crc32c={crc}")),
        ];
        if !self.composite {
            headers.push(("x-goog-hash".to_owned(), format!("md5={}", base64(&hash(Algorithm::Md5, &self.bytes)))));
        }
        headers.extend(self.kept.clone());
        headers
    }
}

pub(super) fn hash(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    checksum_of(algorithm, bytes).expect("it can be computed").to_bytes()
}
