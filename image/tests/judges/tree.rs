//! Everything that can be seen of a directory tree, for comparing two of them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A tree: what is at every path below its root (and at the root, the empty path).
pub(crate) struct Tree(BTreeMap<Vec<u8>, Node>);

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Type and permissions.
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    /// Length and SHA-256 of a regular file.
    content: Option<(u64, String)>,
    /// Target of a symbolic link.
    target: Option<Vec<u8>>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name of the same inode, where there is more than one.
    same_as: Option<Vec<u8>>,
}

impl Tree {
    /// Looks at everything below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut first_names = BTreeMap::new();
        let nodes = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|found| {
            let found = found.unwrap();
            let below = found.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let meta = found.path().symlink_metadata().unwrap();
            let mut node = Node::read(found.path(), &meta);
            if !meta.is_dir() && meta.nlink() > 1 {
                let first = first_names.entry(meta.ino()).or_insert_with(|| below.clone());
                node.same_as = Some(first.clone());
            }
            (below, node)
        });
        Self(nodes.collect())
    }

    /// How many paths there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many names are second names, how many objects have extended attributes, and how many a time with
    /// a fraction of a second: so that a comparison is known to compare something.
    pub(crate) fn features(&self) -> [usize; 3] {
        let count =
            |has: fn(&Vec<u8>, &Node) -> bool| self.0.iter().filter(|(path, node)| has(path, node)).count();
        [
            count(|path, node| node.same_as.as_ref().is_some_and(|first| first != path)),
            count(|_, node| !node.xattrs.is_empty()),
            count(|_, node| node.mtime.1 != 0),
        ]
    }

    /// Panics with the first differences unless `other` is the same in everything.
    pub(crate) fn assert_same(&self, other: &Self) {
        let paths = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        let differing = paths.filter(|path| self.0.get(*path) != other.0.get(*path));
        let shown: Vec<String> = differing
            .take(5)
            .map(|path| {
                format!("{}\n  {:?}\n  {:?}", path.escape_ascii(), self.0.get(path), other.0.get(path))
            })
            .collect();
        assert!(shown.is_empty(), "the trees differ:\n{}", shown.join("\n"));
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} paths", self.len())
    }
}

impl Node {
    fn read(path: &Path, meta: &Metadata) -> Self {
        let content = meta.is_file().then(|| {
            let mut hasher = Sha256::new();
            io::copy(&mut File::open(path).unwrap(), &mut HashWriter(&mut hasher)).unwrap();
            let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            (meta.len(), digest)
        });
        let names = xattr::list(path).unwrap();
        let value = |name: std::ffi::OsString| {
            xattr::get(path, &name).unwrap().map(|value| (name.as_bytes().to_vec(), value))
        };
        Self {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            content,
            target: meta.is_symlink().then(|| fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()),
            xattrs: names.filter_map(value).collect(),
            same_as: None,
        }
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
