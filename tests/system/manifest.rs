//! Everything that a reader can see of a tree, and the comparison of two trees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Differences that a failure shows.
const SHOWN: usize = 10;

/// What a reader sees of an entry. Times of access are each region's own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    links: u64,
    inode: u64,
    device: u64,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    contents: Contents,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Contents {
    None,
    Hash(blake3::Hash),
    Target(PathBuf),
}

pub(crate) type Manifest = BTreeMap<PathBuf, Entry>;

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:o} {:?} {} bytes", self.mode, self.owner, self.size)?;
        write!(f, " mtime {:?} ctime {:?}", self.modified, self.changed)?;
        write!(f, " nlink {} ino {} rdev {}", self.links, self.inode, self.device)?;
        write!(f, " xattrs {:?} {:?}", self.attributes, self.contents)
    }
}

impl Entry {
    /// What two filesystems agree on of what the same calls made, as a text to compare.
    pub(crate) fn without_times(&self) -> String {
        let entry = Self { modified: (0, 0), ..self.clone() };
        format!("{:?}", entry.portable())
    }

    /// What a copy keeps on another filesystem: not the inode's number, nor what a filesystem
    /// may count for a directory in its own way.
    fn portable(mut self) -> Self {
        self.inode = 0;
        self.changed = (0, 0);
        if self.mode & 0o170_000 == 0o040_000 {
            (self.size, self.links) = (0, 0);
        }
        self
    }
}

/// Reads a whole tree, the root included, under paths relative to it.
pub(crate) fn read(root: &Path) -> Manifest {
    let mut manifest = Manifest::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let path = root.join(&relative);
        let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if metadata.is_dir() {
            let listed = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            waiting.extend(listed.map(|entry| relative.join(entry.expect("an entry").file_name())));
        }
        manifest.insert(relative, entry(&path, &metadata));
    }
    manifest
}

fn entry(path: &Path, metadata: &Metadata) -> Entry {
    let contents = if metadata.is_symlink() {
        Contents::Target(fs::read_link(path).expect("a symlink can be read"))
    } else if metadata.is_file() {
        Contents::Hash(hash(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    } else {
        Contents::None
    };
    Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        links: metadata.nlink(),
        inode: metadata.ino(),
        device: metadata.rdev(),
        attributes: attributes(path),
        contents,
    }
}

fn hash(path: &Path) -> std::io::Result<blake3::Hash> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            len => hasher.update(&buffer[..len]),
        };
    }
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), attribute(path, name))).collect()
}

fn attribute(path: &Path, name: &[u8]) -> Vec<u8> {
    let mut value = vec![0; 64 << 10];
    let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice());
    value.truncate(len.unwrap_or_else(|errno| panic!("{}: {errno}", path.display())));
    value
}

/// Asserts that two mounts of a volume show the same, down to inode numbers and times of change.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (left, right) = read_both(a, b);
    assert_alike(a, b, &left, &right);
}

/// Asserts that `copy` holds everything that a copy keeps of `original`.
pub(crate) fn assert_copied(original: &Path, copy: &Path) {
    let (left, right) = read_both(original, copy);
    let portable = |manifest: Manifest| manifest.into_iter().map(|(path, entry)| (path, entry.portable())).collect();
    assert_alike(original, copy, &portable(left), &portable(right));
}

fn read_both(a: &Path, b: &Path) -> (Manifest, Manifest) {
    std::thread::scope(|scope| {
        let left = scope.spawn(|| read(a));
        let right = read(b);
        (left.join().expect("the tree can be read"), right)
    })
}

fn assert_alike(a: &Path, b: &Path, left: &Manifest, right: &Manifest) {
    let differs = |path: &&PathBuf| left.get(*path) != right.get(*path);
    let only_right = right.keys().filter(|path| !left.contains_key(*path));
    let different: Vec<_> = left.keys().filter(differs).chain(only_right).collect();
    let (count, total) = (different.len(), left.len());
    for path in different.into_iter().take(SHOWN) {
        eprintln!("differs: {}\n  {:?}\n  {:?}", path.display(), left.get(path), right.get(path));
    }
    assert_eq!(count, 0, "{} and {} differ in {count} of {total} entries", a.display(), b.display());
}
