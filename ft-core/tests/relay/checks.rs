//! What must hold at the end of a run; one function per property.

use std::collections::BTreeSet;

use ft_core::BlockIndex;
use ft_core::relay::Mode;

use crate::net::Net;

/// Every live VM has every block (in lazy mode the metadata and the profile), and no reader waits.
pub(crate) fn everybody_is_served(net: &Net) {
    for vm in net.vms.values().filter(|vm| vm.alive) {
        match net.plan.mode {
            Mode::Full => assert!(vm.engine.is_complete(), "{} lacks blocks", vm.id),
            Mode::Lazy => {
                let here = |block: &u32| vm.engine.stored().contains(BlockIndex(*block));
                assert!(
                    (0..net.layout.metadata_blocks()).all(|block| here(&block)),
                    "{} lacks metadata",
                    vm.id
                );
                assert!(
                    net.profile.iter().all(|block| here(&block.0)),
                    "{} lacks blocks of the profile",
                    vm.id
                );
            }
        }
        assert!(vm.reads.is_empty(), "readers on {} wait for {:?}", vm.id, vm.reads);
    }
}

/// No reader was told that a block is not to be had.
pub(crate) fn nothing_failed(net: &Net) {
    for vm in net.vms.values() {
        assert_eq!(vm.failed_reads, 0, "reads on {} failed", vm.id);
        assert_eq!(vm.engine.stats().late, 0, "{} waited too long", vm.id);
        assert_eq!(vm.engine.stats().ignored, 0, "{} was told nonsense", vm.id);
    }
}

/// The origin was read once for every block that anybody has.
pub(crate) fn origin_was_read_once(net: &Net) {
    for (block, reads) in &net.origin.reads {
        assert_eq!(*reads, 1, "block {block} was read {reads} times");
    }
    let held: BTreeSet<BlockIndex> = net
        .vms
        .values()
        .flat_map(|vm| vm.engine.stored().iter())
        .map(|index| canonical(net, index))
        .collect();
    assert_eq!(net.origin.reads.len(), held.len());
}

fn canonical(net: &Net, index: BlockIndex) -> BlockIndex {
    net.layout.blocks()[index.0 as usize].canonical
}

/// No block was sent to a child twice, nor came to a VM twice.
pub(crate) fn nothing_came_twice(net: &Net) {
    for vm in net.vms.values() {
        assert_eq!(vm.sent_twice, 0, "{} sent blocks twice", vm.id);
        assert_eq!(vm.engine.stats().duplicate.blocks, 0, "blocks came twice to {}", vm.id);
    }
}

/// Nobody intends to do anything any more.
pub(crate) fn no_work_is_left(net: &Net) {
    for vm in net.vms.values().filter(|vm| vm.alive) {
        assert_eq!(vm.engine.deadline(), None, "{} still waits for something", vm.id);
    }
}
