//! Random layers, merged by the builder in one pass, against a model that first collects each whole layer
//! and then lays it over those below. They agree only if the order of whiteouts and entries in a layer
//! means nothing.

use std::collections::{BTreeMap, BTreeSet};

use ft_image::entry::EntryKind;
use ft_image::erofs::{Inode, Kind, Reader};
use proptest::prelude::*;

use crate::synthetic::{Item, build, devices, directory, file, owned, special, whiteout};

#[derive(Clone, Debug)]
enum Op {
    Directory(String, u16),
    File(String, u8),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// What the model has at a path; files and their hard links have the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory { mode: u16, explicit: bool },
    File { number: usize, content: u8 },
}

type Model = BTreeMap<String, Node>;

/// One layer of the model.
#[derive(Default)]
struct Upper {
    nodes: Model,
    whiteouts: BTreeSet<String>,
    opaque: BTreeSet<String>,
}

fn is_below(path: &str, above: &str) -> bool {
    above.is_empty() && !path.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Upper {
    fn directory(&mut self, path: &str) {
        if !path.is_empty() {
            self.directory(parent(path));
        }
        let implicit = Node::Directory { mode: 0o755, explicit: false };
        self.nodes.entry(path.to_owned()).or_insert(implicit);
    }

    /// Whether the operation has a meaning; hard links only within the layer.
    fn apply(&mut self, op: &Op, number: usize) -> bool {
        if let Op::HardLink(path, target) = op
            && (path == target || !matches!(self.nodes.get(target), Some(Node::File { .. })))
        {
            return false;
        }
        match op {
            Op::Directory(path, mode) => {
                self.directory(parent(path));
                self.nodes.insert(path.clone(), Node::Directory { mode: *mode, explicit: true });
            }
            Op::File(path, content) => {
                self.directory(parent(path));
                self.nodes.insert(path.clone(), Node::File { number, content: *content });
            }
            Op::HardLink(path, target) => {
                self.directory(parent(path));
                self.nodes.insert(path.clone(), self.nodes[target].clone());
            }
            Op::Whiteout(path) => {
                self.directory(parent(path));
                self.whiteouts.insert(path.clone());
            }
            Op::Opaque(path) => {
                self.directory(path);
                self.opaque.insert(path.clone());
            }
        }
        true
    }

    fn lay_over(self, lower: &mut Model) {
        lower.retain(|path, _| {
            !self.whiteouts.iter().any(|hidden| path == hidden || is_below(path, hidden))
                && !self.opaque.iter().any(|directory| is_below(path, directory))
        });
        for (path, node) in self.nodes {
            match (lower.get(&path), &node) {
                (Some(Node::Directory { .. }), Node::Directory { explicit: false, .. }) => {}
                (Some(Node::Directory { .. }), Node::Directory { .. }) => {
                    lower.insert(path, node);
                }
                _ => {
                    lower.retain(|below, _| !is_below(below, &path));
                    lower.insert(path, node);
                }
            }
        }
    }
}

fn item(op: &Op) -> Item {
    let whiteout_of = |path: &str| match path.rsplit_once('/') {
        Some((above, name)) => format!("{above}/.wh.{name}"),
        None => format!(".wh.{path}"),
    };
    match op {
        Op::Directory(path, mode) => owned(directory(path), *mode, 0, 0),
        Op::File(path, content) => file(path.as_str(), vec![*content; 5]),
        Op::HardLink(path, target) => special(path, EntryKind::HardLink(target.clone().into())),
        Op::Whiteout(path) => whiteout(&whiteout_of(path)),
        Op::Opaque(path) if path.is_empty() => whiteout(".wh..wh..opq"),
        Op::Opaque(path) => whiteout(&format!("{path}/.wh..wh..opq")),
    }
}

/// `d` and `e` are always directories, so that nothing lies below a file; `x` and `y` are now this, now that.
fn op() -> impl Strategy<Value = Op> {
    let above = || proptest::collection::vec(prop_oneof![Just("d"), Just("e")], 0..3);
    let inner = || above().prop_map(|names| names.join("/"));
    let leaf = || {
        (above(), prop_oneof![Just("x"), Just("y")]).prop_map(|(mut names, last)| {
            names.push(last);
            names.join("/")
        })
    };
    let any_path = || prop_oneof![inner().prop_filter("not the root", |path| !path.is_empty()), leaf()];
    prop_oneof![
        4 => (prop_oneof![inner(), leaf()], 0u16..0o1000).prop_map(|(path, mode)| Op::Directory(path, mode)),
        5 => (leaf(), any::<u8>()).prop_map(|(path, content)| Op::File(path, content)),
        2 => (leaf(), leaf()).prop_map(|(path, target)| Op::HardLink(path, target)),
        3 => any_path().prop_map(Op::Whiteout),
        2 => inner().prop_map(Op::Opaque),
    ]
}

/// Everything in an image, by path.
fn read_all(reader: &Reader<&[u8], &[u8]>) -> BTreeMap<String, Inode> {
    let mut all = BTreeMap::from([(String::new(), reader.root().unwrap())]);
    let mut pending = vec![String::new()];
    while let Some(directory) = pending.pop() {
        for entry in reader.read_dir(&all[&directory]).unwrap() {
            let entry = entry.unwrap();
            let name = String::from_utf8(entry.name).unwrap();
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let inode = reader.inode(entry.node).unwrap();
            if inode.kind() == Kind::Directory {
                pending.push(path.clone());
            }
            all.insert(path, inode);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_builder_agrees_with_the_model(
        layers in proptest::collection::vec(proptest::collection::vec(op(), 0..14), 1..4),
    ) {
        let mut model = Model::from([(String::new(), Node::Directory { mode: 0o755, explicit: false })]);
        let mut items = Vec::new();
        let mut number = 0;
        for layer in &layers {
            let mut upper = Upper::default();
            let mut kept = Vec::new();
            for op in layer {
                number += 1;
                if upper.apply(op, number) {
                    kept.push(item(op));
                }
            }
            upper.lay_over(&mut model);
            items.push(kept);
        }
        let dir = tempfile::tempdir().unwrap();
        let (meta, data) = devices(&build(dir.path(), &items, 1));
        let reader = Reader::open(&meta[..], &data[..]).unwrap();
        let found = read_all(&reader);
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
        let mut numbers = BTreeMap::new();
        let mut links: BTreeMap<u64, u32> = BTreeMap::new();
        for (path, node) in &model {
            let inode = &found[path];
            match node {
                Node::Directory { mode, .. } => {
                    prop_assert_eq!((inode.kind(), inode.mode()), (Kind::Directory, *mode), "{}", path);
                    let subdirectories = model.iter().filter(|(child, node)| {
                        matches!(node, Node::Directory { .. }) && is_below(child, path) && parent(child) == path
                    });
                    prop_assert_eq!(inode.links() as usize, 2 + subdirectories.count(), "{}", path);
                }
                Node::File { number, content } => {
                    let mut bytes = [0; 6];
                    prop_assert_eq!(reader.read(inode, 0, &mut bytes).unwrap(), 5, "{}", path);
                    prop_assert_eq!(&bytes[..5], &[*content; 5], "{}", path);
                    let first = *numbers.entry(*number).or_insert(inode.node());
                    prop_assert_eq!(first, inode.node(), "{} is a hard link", path);
                    *links.entry(inode.node()).or_default() += 1;
                }
            }
        }
        prop_assert_eq!(numbers.len(), links.len(), "different files are different inodes");
        for inode in found.values().filter(|inode| inode.kind() == Kind::File) {
            prop_assert_eq!(inode.links(), links[&inode.node()]);
        }
    }
}

#[test]
fn a_directory_with_children_gives_way_to_a_file_and_back() {
    let layers = [
        vec![directory("a"), file("a/b/c", b"1".to_vec())],
        vec![file("a", b"2".to_vec())],
        vec![directory("a"), file("a/d", b"3".to_vec())],
    ];
    let dir = tempfile::tempdir().unwrap();
    let (meta, data) = devices(&build(dir.path(), &layers, 1));
    let reader = Reader::open(&meta[..], &data[..]).unwrap();
    assert_eq!(read_all(&reader).into_keys().collect::<Vec<_>>(), ["", "a", "a/d"]);
}
