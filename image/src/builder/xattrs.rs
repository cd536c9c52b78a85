//! The different sets of xattrs in an image; most inodes share one of a few.

use std::collections::HashMap;
use std::sync::Arc;

use crate::erofs::split_xattr_name;

/// One inode's xattrs, sorted by name.
pub(crate) type XattrSet = [(Vec<u8>, Vec<u8>)];

/// Gives each different set a number; 0 is the empty set.
#[derive(Debug)]
pub(crate) struct XattrTable {
    sets: Vec<Arc<XattrSet>>,
    numbers: HashMap<Arc<XattrSet>, u32>,
    bytes: u64,
    left_out: u64,
}

impl XattrTable {
    pub(crate) fn new() -> Self {
        let empty: Arc<XattrSet> = Arc::new([]);
        Self { sets: vec![empty.clone()], numbers: HashMap::from([(empty, 0)]), bytes: 0, left_out: 0 }
    }

    /// The number of the set of those `xattrs` that an image keeps.
    pub(crate) fn number(&mut self, xattrs: &XattrSet) -> u32 {
        let kept: Vec<_> = xattrs.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        self.left_out += (xattrs.len() - kept.len()) as u64;
        if let Some(number) = self.numbers.get(&kept[..]) {
            return *number;
        }
        self.bytes += size(&kept);
        let set: Arc<XattrSet> = kept.into();
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set.clone());
        self.numbers.insert(set, number);
        number
    }

    /// The set with this number.
    pub(crate) fn set(&self, number: u32) -> &XattrSet {
        &self.sets[number as usize]
    }

    /// How many different sets there are.
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Bytes of names and values of all sets.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many xattrs were left out, because an image cannot or should not hold them.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// Bytes of names and values.
pub(crate) fn size(xattrs: &XattrSet) -> u64 {
    xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
}

/// EROFS has no place for foreign name spaces (`com.apple.…`), and `trusted.overlay.…` would give orders to
/// the overlayfs that is mounted over the image.
fn is_kept(name: &[u8]) -> bool {
    split_xattr_name(name).is_some() && !name.starts_with(b"trusted.overlay.")
}
