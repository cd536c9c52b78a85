//! The merged tree of all layers read so far, and the overlay rules by which a layer changes it.
//!
//! Every name carries the number of the layer that last mentioned it. A whiteout or an opaque marker hides
//! only what lower layers brought, wherever in its layer it stands; the numbers tell the two apart.

use std::collections::BTreeMap;

use super::inode::{Attributes, Body, Inode};

/// An inode's place in [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeId(u32);

/// A layer, counted from 1. 0 stands for "none".
pub(crate) type LayerNumber = u16;

impl InodeId {
    pub(crate) const ROOT: Self = Self(0);

    /// The id as an array index.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A directory's names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    children: BTreeMap<Box<[u8]>, Child>,
    /// The layer whose entry gave the attributes.
    described_by: LayerNumber,
    /// The layer that, so far, has nothing of lower layers below this directory.
    sealed_by: LayerNumber,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    inode: InodeId,
    /// The layer that last mentioned the name, or one below it.
    layer: LayerNumber,
}

/// Why the tree refuses a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A name on the way is not a directory.
    NotADirectory,
    /// The directory has as many names as are allowed.
    DirectoryFull,
    /// A hard link's target is not there.
    NoTarget,
    /// A hard link's target is a directory.
    TargetIsDirectory,
    /// A hard link names itself as its target.
    TargetIsSelf,
    /// The root can only be a directory.
    Root,
}

/// The merged tree.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
    directory_limit: usize,
}

impl Tree {
    /// A tree with nothing but a root, whose directories may have `directory_limit` names each.
    pub(crate) fn new(directory_limit: usize) -> Self {
        let root = Inode { attributes: Attributes::IMPLICIT, body: Body::Directory(Directory::default()) };
        Self { inodes: vec![root], directory_limit }
    }

    /// The inode behind an id of this tree.
    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Inodes ever made, those that were replaced or removed since included.
    pub(crate) fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// A directory's names and inodes in the order of the names' bytes; nothing for other inodes.
    pub(crate) fn children(&self, id: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        let children = match &self.inode(id).body {
            Body::Directory(directory) => Some(&directory.children),
            _ => None,
        };
        children.into_iter().flatten().map(|(name, child)| (&name[..], child.inode))
    }

    /// Puts an inode at `path` on behalf of `layer`. A directory where there is one already only changes its
    /// attributes; everything else replaces what is there.
    pub(crate) fn put(&mut self, path: &[u8], layer: LayerNumber, inode: Inode) -> Result<(), Refusal> {
        let Some((parent, name)) = self.parent(path, layer)? else {
            return match inode.body {
                Body::Directory(_) => {
                    self.describe(InodeId::ROOT, layer, inode.attributes);
                    Ok(())
                }
                _ => Err(Refusal::Root),
            };
        };
        let existing = self.directory(parent).and_then(|directory| directory.children.get(name).copied());
        match existing {
            Some(child) if self.is_directory(child.inode) && matches!(inode.body, Body::Directory(_)) => {
                self.describe(child.inode, layer, inode.attributes);
                self.link(parent, name, layer, child.inode)
            }
            _ => {
                let attributes = inode.attributes;
                let id = self.add(inode);
                self.link(parent, name, layer, id)?;
                self.seal(id, layer);
                self.describe(id, layer, attributes);
                Ok(())
            }
        }
    }

    /// Makes `path` another name of what is at `target`.
    pub(crate) fn hard_link(
        &mut self,
        path: &[u8],
        target: &[u8],
        layer: LayerNumber,
    ) -> Result<(), Refusal> {
        if path == target {
            return Err(Refusal::TargetIsSelf);
        }
        let id = self.find(target).ok_or(Refusal::NoTarget)?;
        if self.is_directory(id) {
            return Err(Refusal::TargetIsDirectory);
        }
        let (parent, name) = self.parent(path, layer)?.ok_or(Refusal::Root)?;
        self.link(parent, name, layer, id)
    }

    /// Hides what lower layers have at `path`.
    pub(crate) fn whiteout(&mut self, path: &[u8], layer: LayerNumber) -> Result<(), Refusal> {
        let (parent, name) = self.parent(path, layer)?.ok_or(Refusal::Root)?;
        let Some(directory) = self.directory(parent) else { return Ok(()) };
        match directory.children.get(name).copied() {
            Some(child) if child.layer == layer => {
                if let Some(hidden) = self.directory(child.inode)
                    && hidden.described_by != layer
                {
                    self.inodes[child.inode.index()].attributes = Attributes::IMPLICIT;
                }
                self.hide_below(child.inode, layer);
            }
            Some(_) => {
                directory.children.remove(name);
            }
            None => {}
        }
        Ok(())
    }

    /// Hides what lower layers have in the directory `path`.
    pub(crate) fn opaque(&mut self, path: &[u8], layer: LayerNumber) -> Result<(), Refusal> {
        let id = self.ensure_directory(path, layer)?;
        self.hide_below(id, layer);
        Ok(())
    }

    /// Removes every name below `top` that `layer` has not mentioned. Sealed directories are left out, so
    /// that a layer with many markers visits each directory once.
    fn hide_below(&mut self, top: InodeId, layer: LayerNumber) {
        let mut pending = vec![top];
        while let Some(id) = pending.pop() {
            let Some(directory) = self.directory(id) else { continue };
            let forget_attributes = id != top && directory.described_by != layer;
            if directory.sealed_by != layer {
                directory.sealed_by = layer;
                directory.children.retain(|_, child| child.layer == layer);
                pending.extend(directory.children.values().map(|child| child.inode));
            }
            if forget_attributes {
                self.inodes[id.index()].attributes = Attributes::IMPLICIT;
            }
        }
    }

    /// The directory that holds `path`, made if it is missing, and the last name; `None` for the root.
    fn parent<'p>(
        &mut self,
        path: &'p [u8],
        layer: LayerNumber,
    ) -> Result<Option<(InodeId, &'p [u8])>, Refusal> {
        if path.is_empty() {
            return Ok(None);
        }
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        Ok(Some((self.ensure_directory(above, layer)?, name)))
    }

    /// The directory at `path`, made if it is missing; it and those above it are marked as mentioned.
    fn ensure_directory(&mut self, path: &[u8], layer: LayerNumber) -> Result<InodeId, Refusal> {
        let mut id = InodeId::ROOT;
        for name in components(path) {
            let directory = self.directory(id).ok_or(Refusal::NotADirectory)?;
            id = if let Some(child) = directory.children.get_mut(name) {
                child.layer = layer;
                child.inode
            } else {
                let body = Body::Directory(Directory::default());
                let made = self.add(Inode { attributes: Attributes::IMPLICIT, body });
                self.link(id, name, layer, made)?;
                self.seal(made, layer);
                made
            };
        }
        if self.is_directory(id) { Ok(id) } else { Err(Refusal::NotADirectory) }
    }

    /// The inode at `path`; links are not followed.
    fn find(&self, path: &[u8]) -> Option<InodeId> {
        components(path).try_fold(InodeId::ROOT, |id, name| match &self.inode(id).body {
            Body::Directory(directory) => directory.children.get(name).map(|child| child.inode),
            _ => None,
        })
    }

    fn link(
        &mut self,
        parent: InodeId,
        name: &[u8],
        layer: LayerNumber,
        inode: InodeId,
    ) -> Result<(), Refusal> {
        let limit = self.directory_limit;
        let directory = self.directory(parent).ok_or(Refusal::NotADirectory)?;
        let child = Child { inode, layer };
        let count = directory.children.len();
        if let Some(existing) = directory.children.get_mut(name) {
            *existing = child;
        } else if count < limit {
            directory.children.insert(name.into(), child);
        } else {
            return Err(Refusal::DirectoryFull);
        }
        Ok(())
    }

    /// The builder limits entries to far below 2^32.
    fn add(&mut self, inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).unwrap_or(u32::MAX));
        self.inodes.push(inode);
        id
    }

    /// Gives a directory the attributes of an entry of `layer`.
    fn describe(&mut self, id: InodeId, layer: LayerNumber, attributes: Attributes) {
        if let Some(directory) = self.directory(id) {
            directory.described_by = layer;
            self.inodes[id.index()].attributes = attributes;
        }
    }

    /// Notes that a directory is new in `layer`.
    fn seal(&mut self, id: InodeId, layer: LayerNumber) {
        if let Some(directory) = self.directory(id) {
            directory.sealed_by = layer;
        }
    }

    fn is_directory(&self, id: InodeId) -> bool {
        matches!(self.inode(id).body, Body::Directory(_))
    }

    fn directory(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self.inodes[id.index()].body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

/// The names of a path; none for the root.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}
