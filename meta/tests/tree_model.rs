//! Random operations on the tree against a naive filesystem in memory.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use farshore_meta::{Attr, AttrChange, FileKind, FsError, Ino, NewInode, RenameMode, Tree, XattrMode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{NOW, name, new, primary, tree};

/// A node of the naive filesystem.
#[derive(Debug, Clone)]
struct Node {
    kind: FileKind,
    nlink: u32,
    entries: BTreeMap<String, u64>,
    parent: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    contents: Vec<u8>,
}

/// The naive filesystem: what POSIX says, without a thought for speed.
struct Model {
    nodes: BTreeMap<u64, Node>,
}

type Outcome<T> = Result<T, &'static str>;

impl Model {
    fn new() -> Self {
        let root = Node {
            kind: FileKind::Directory,
            nlink: 2,
            entries: BTreeMap::new(),
            parent: 1,
            xattrs: BTreeMap::new(),
            contents: Vec::new(),
        };
        Self { nodes: BTreeMap::from([(1, root)]) }
    }

    fn directory(&self, ino: u64) -> Outcome<&Node> {
        let node = self.nodes.get(&ino).filter(|node| node.nlink > 0).ok_or("not found")?;
        if node.kind == FileKind::Directory { Ok(node) } else { Err("not a directory") }
    }

    fn create(&mut self, parent: u64, name: &str, kind: FileKind, ino: u64) -> Outcome<()> {
        if self.directory(parent)?.entries.contains_key(name) {
            return Err("exists");
        }
        let nlink = if kind == FileKind::Directory { 2 } else { 1 };
        let node =
            Node { kind, nlink, entries: BTreeMap::new(), parent, xattrs: BTreeMap::new(), contents: Vec::new() };
        self.nodes.insert(ino, node);
        self.enter(parent, name, ino);
        Ok(())
    }

    fn enter(&mut self, parent: u64, name: &str, ino: u64) {
        let directory = self.nodes[&ino].kind == FileKind::Directory;
        let node = self.nodes.get_mut(&parent).unwrap();
        node.entries.insert(name.to_owned(), ino);
        node.nlink += u32::from(directory);
        if directory {
            self.nodes.get_mut(&ino).unwrap().parent = parent;
        }
    }

    fn leave(&mut self, parent: u64, name: &str) -> u64 {
        let ino = self.nodes.get_mut(&parent).unwrap().entries.remove(name).unwrap();
        if self.nodes[&ino].kind == FileKind::Directory {
            self.nodes.get_mut(&parent).unwrap().nlink -= 1;
        }
        ino
    }

    fn drop_name(&mut self, ino: u64) {
        let node = self.nodes.get_mut(&ino).unwrap();
        node.nlink = if node.kind == FileKind::Directory { 0 } else { node.nlink - 1 };
        if node.nlink == 0 {
            self.nodes.remove(&ino);
        }
    }

    fn link(&mut self, ino: u64, parent: u64, name: &str) -> Outcome<()> {
        let taken = self.directory(parent)?.entries.contains_key(name);
        let node = self.nodes.get_mut(&ino).ok_or("not found")?;
        if node.kind == FileKind::Directory {
            return Err("not permitted");
        }
        if taken {
            return Err("exists");
        }
        node.nlink += 1;
        self.enter(parent, name, ino);
        Ok(())
    }

    fn remove(&mut self, parent: u64, name: &str, directory: bool) -> Outcome<u64> {
        let ino = *self.directory(parent)?.entries.get(name).ok_or("not found")?;
        let node = &self.nodes[&ino];
        match (node.kind == FileKind::Directory, directory) {
            (true, false) => return Err("is a directory"),
            (false, true) => return Err("not a directory"),
            (true, true) if !node.entries.is_empty() => return Err("not empty"),
            _ => {}
        }
        self.leave(parent, name);
        self.drop_name(ino);
        Ok(ino)
    }

    fn is_above(&self, above: u64, mut ino: u64) -> bool {
        while ino != 1 {
            if ino == above {
                return true;
            }
            ino = self.nodes[&ino].parent;
        }
        above == 1
    }

    fn rename(&mut self, from: (u64, &str), to: (u64, &str), mode: RenameMode) -> Outcome<()> {
        self.directory(from.0)?;
        self.directory(to.0)?;
        let source = *self.directory(from.0)?.entries.get(from.1).ok_or("not found")?;
        let target = self.directory(to.0)?.entries.get(to.1).copied();
        let is_directory = |model: &Self, ino: u64| model.nodes[&ino].kind == FileKind::Directory;
        match (target, mode) {
            (Some(_), RenameMode::NoReplace) => return Err("exists"),
            (None, RenameMode::Exchange) => return Err("not found"),
            (Some(target), _) if target == source => return Ok(()),
            _ => {}
        }
        if is_directory(self, source) && self.is_above(source, to.0) {
            return Err("invalid");
        }
        if let Some(target) = target {
            if mode == RenameMode::Exchange {
                if is_directory(self, target) && self.is_above(target, from.0) {
                    return Err("invalid");
                }
                self.leave(from.0, from.1);
                self.leave(to.0, to.1);
                self.enter(from.0, from.1, target);
                self.enter(to.0, to.1, source);
                return Ok(());
            }
            match (is_directory(self, source), is_directory(self, target)) {
                (true, false) => return Err("not a directory"),
                (false, true) => return Err("is a directory"),
                (true, true) if !self.nodes[&target].entries.is_empty() => return Err("not empty"),
                _ => {}
            }
            self.leave(to.0, to.1);
            self.drop_name(target);
        }
        self.leave(from.0, from.1);
        self.enter(to.0, to.1, source);
        Ok(())
    }
}

fn word(error: &FsError) -> &'static str {
    match error {
        FsError::NotFound => "not found",
        FsError::Exists => "exists",
        FsError::NotDirectory => "not a directory",
        FsError::IsDirectory => "is a directory",
        FsError::NotEmpty => "not empty",
        FsError::NotPermitted(_) => "not permitted",
        FsError::Invalid(_) => "invalid",
        other => panic!("{other}"),
    }
}

fn same<T, U>(step: usize, found: Result<T, FsError>, expected: Outcome<U>) -> Option<(T, U)> {
    match (found, expected) {
        (Ok(found), Ok(expected)) => Some((found, expected)),
        (Err(found), Err(expected)) => {
            assert_eq!(word(&found), expected, "step {step}");
            None
        }
        (Ok(_), Err(expected)) => panic!("step {step}: succeeded, expected {expected}"),
        (Err(found), Ok(_)) => panic!("step {step}: {found}, expected success"),
    }
}

async fn check(tree: &Tree, model: &Model) {
    for (ino, node) in &model.nodes {
        let attr: Attr = tree.attr(Ino(*ino)).await.unwrap();
        assert_eq!((attr.kind, attr.nlink), (node.kind, node.nlink), "inode {ino}");
        assert_eq!(attr.size, if node.kind == FileKind::Symlink { 6 } else { node.contents.len() as u64 });
        let names = tree.xattrs(Ino(*ino)).await.unwrap();
        assert_eq!(names.len(), node.xattrs.len());
        for (name, value) in &node.xattrs {
            assert_eq!(tree.xattr(Ino(*ino), name.as_bytes()).await.unwrap(), value);
        }
        if node.kind == FileKind::Directory {
            assert_eq!(attr.parent, Ino(node.parent), "the directory above {ino}");
            let entries = tree.read_directory(Ino(*ino), None, usize::MAX, true).await.unwrap();
            let found: Vec<_> = entries.iter().map(|e| (e.name.as_bytes().to_vec(), e.ino.0)).collect();
            let expected: Vec<_> = node.entries.iter().map(|(n, i)| (n.as_bytes().to_vec(), *i)).collect();
            assert_eq!(found, expected, "the entries of {ino}");
        }
    }
}

async fn run(seed: u64, steps: usize) {
    let directory = tempfile::tempdir().unwrap();
    let region = primary(directory.path()).await;
    let tree = tree(&region);
    let mut model = Model::new();
    let mut rng = StdRng::seed_from_u64(seed);
    for step in 0..steps {
        let inos: Vec<u64> = model.nodes.keys().copied().collect();
        let any = |rng: &mut StdRng| inos[rng.random_range(0..inos.len())];
        let pick = |rng: &mut StdRng| format!("n{}", rng.random_range(0..5));
        let (a, b) = (any(&mut rng), any(&mut rng));
        let (name_a, name_b) = (pick(&mut rng), pick(&mut rng));
        match rng.random_range(0..12) {
            0..4 => {
                let kinds =
                    [FileKind::File, FileKind::Directory, FileKind::Directory, FileKind::Symlink, FileKind::Fifo];
                let kind = kinds[rng.random_range(0..kinds.len())];
                let target = if kind == FileKind::Symlink { Bytes::from_static(b"target") } else { Bytes::new() };
                let new = NewInode { target, ..new(kind) };
                let made = tree.create(Ino(a), &name(&name_a), &new, NOW).await;
                let ino = made.as_ref().map_or(0, |(ino, _)| ino.0);
                same(step, made, model.create(a, &name_a, kind, ino));
            }
            4 => {
                let linked = tree.link(Ino(a), Ino(b), &name(&name_b), NOW).await;
                same(step, linked, model.link(a, b, &name_b));
            }
            5 | 6 => {
                let removed = tree.unlink(Ino(a), &name(&name_a), NOW).await;
                if let Some(((ino, attr), expected)) = same(step, removed, model.remove(a, &name_a, false)) {
                    assert_eq!(ino.0, expected);
                    assert_eq!(attr.nlink == 0, !model.nodes.contains_key(&expected));
                }
            }
            7 => {
                let removed = tree.remove_directory(Ino(a), &name(&name_a), NOW).await;
                same(step, removed, model.remove(a, &name_a, true));
            }
            8 | 9 => {
                let modes = [RenameMode::Replace, RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
                let mode = modes[rng.random_range(0..modes.len())];
                let moved = tree.rename((Ino(a), &name(&name_a)), (Ino(b), &name(&name_b)), mode, NOW).await;
                same(step, moved, model.rename((a, &name_a), (b, &name_b), mode));
            }
            10 => {
                tree.set_xattr(Ino(a), name_a.as_bytes(), name_b.as_bytes(), XattrMode::Any, NOW).await.unwrap();
                model.nodes.get_mut(&a).unwrap().xattrs.insert(name_a, name_b.into_bytes());
            }
            _ => {
                let data = Bytes::from(vec![step as u8; rng.random_range(0..100)]);
                if model.nodes[&a].kind == FileKind::File {
                    tree.write_inline(Ino(a), &data, &AttrChange::default()).await.unwrap();
                    model.nodes.get_mut(&a).unwrap().contents = data.to_vec();
                }
            }
        }
        if rng.random_bool(0.05) {
            let orphans = tree.orphans(1_000).await.unwrap();
            tree.reap(&orphans, NOW).await.unwrap();
        }
    }
    check(&tree, &model).await;
    let orphans = tree.orphans(10_000).await.unwrap();
    tree.reap(&orphans, NOW).await.unwrap();
    check(&tree, &model).await;
    let usage = region.usage().await.unwrap();
    assert_eq!(usage.inodes, model.nodes.len() as u64);
    assert_eq!(usage.bytes, model.nodes.values().map(|node| node.contents.len() as u64).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_does_what_a_naive_filesystem_does() {
    for seed in 0..6 {
        run(seed, 1_500).await;
    }
}
