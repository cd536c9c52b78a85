//! Where each VM is: a hash map that nobody can iterate.

use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::vm::VmId;

/// Finds what is kept for a VM in O(1). It has no iterator, so no result can depend on the order of hashes.
#[derive(Debug)]
pub(super) struct VmIndex<T> {
    map: HashMap<VmId, T, BuildHasherDefault<VmHasher>>,
}

impl<T: Copy> VmIndex<T> {
    pub(super) fn new() -> Self {
        Self { map: HashMap::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, vm: VmId) -> Option<T> {
        self.map.get(&vm).copied()
    }

    pub(super) fn get_mut(&mut self, vm: VmId) -> Option<&mut T> {
        self.map.get_mut(&vm)
    }

    pub(super) fn set(&mut self, vm: VmId, value: T) {
        self.map.insert(vm, value);
    }

    pub(super) fn remove(&mut self, vm: VmId) {
        self.map.remove(&vm);
    }
}

/// The same on every machine and in every run. VM ids come from the manager, so nobody can make them collide
/// on purpose.
#[derive(Debug, Default)]
struct VmHasher(u64);

impl Hasher for VmHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
    fn write_u64(&mut self, number: u64) {
        let mut mixed = (self.0 ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }
}
