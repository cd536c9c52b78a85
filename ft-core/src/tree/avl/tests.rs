use alloc::vec::Vec;

use super::*;

fn tree_of(vms: u64) -> AvlTree {
    let mut tree = AvlTree::new(Epoch::first(1));
    for vm in 0..vms {
        tree.insert(VmId(vm)).unwrap();
    }
    tree
}

/// The first node in level order with a free child, found by walking.
fn first_gap_by_walking(tree: &AvlTree) -> Option<VmId> {
    tree.vms().find(|vm| tree.children_of(*vm, STRIPE).contains(&None))
}

#[test]
fn joins_alone_need_no_rotation_and_leaves_do() {
    let mut tree = tree_of(4_096);
    assert_eq!(tree.rotations(), 0, "joins fill the tree level by level");
    // Everyone leaves, from the left-most VMs on: the right side becomes the taller one again and again.
    let mut order: Vec<VmId> = Vec::new();
    let mut stack: Vec<VmId> = tree.root(STRIPE).into_iter().collect();
    while let Some(vm) = stack.pop() {
        order.push(vm);
        stack.extend(tree.children_of(vm, STRIPE).into_iter().rev().flatten());
    }
    for vm in order {
        tree.remove(vm).unwrap();
    }
    assert!(tree.is_empty());
    assert!(tree.rotations() > 100, "only {} rotations", tree.rotations());
}

#[test]
fn a_leave_can_need_a_single_and_a_double_rotation() {
    // 0 ── 1 ── 3, 4 and 0 ── 2: without 2, the left side is too tall.
    let mut tree = tree_of(5);
    let change = tree.remove(VmId(2)).unwrap();
    assert_eq!(tree.rotations(), 1);
    assert_eq!(tree.root(STRIPE), Some(VmId(1)));
    assert_eq!(tree.children_of(VmId(1), STRIPE), [Some(VmId(3)), Some(VmId(0))]);
    assert_eq!(tree.children_of(VmId(0), STRIPE), [Some(VmId(4)), None]);
    assert_eq!(change.edges.len(), 3);

    // Without 3 as well, the tall child's inner side is the taller one.
    let mut tree = tree_of(5);
    tree.remove(VmId(3)).unwrap();
    assert_eq!(tree.children_of(VmId(1), STRIPE), [None, Some(VmId(4))]);
    tree.remove(VmId(2)).unwrap();
    assert_eq!(tree.rotations(), 2);
    assert_eq!(tree.root(STRIPE), Some(VmId(4)));
    assert_eq!(tree.children_of(VmId(4), STRIPE), [Some(VmId(1)), Some(VmId(0))]);
}

#[test]
fn a_removed_node_is_replaced_from_its_own_subtree() {
    let mut tree = tree_of(12);
    // 1's subtree is {3, 4, 7, 8, 9, 10}; its first deepest leaf is 7.
    let change = tree.remove(VmId(1)).unwrap();
    assert_eq!(tree.parent_of(VmId(7), STRIPE), Some(VmId(0)));
    assert_eq!(tree.children_of(VmId(7), STRIPE), [Some(VmId(3)), Some(VmId(4))]);
    assert_eq!(change.edges.iter().map(|edge| edge.child.0).collect::<Vec<_>>(), [3, 4, 7]);
}

#[test]
fn the_gap_is_the_first_in_level_order_whatever_happened_before() {
    let mut tree = tree_of(300);
    for step in 0..2_000_u64 {
        if step % 7 < 3 || tree.is_empty() {
            let expected = first_gap_by_walking(&tree);
            let vm = VmId(1_000 + step);
            tree.insert(vm).unwrap();
            assert_eq!(tree.parent_of(vm, STRIPE), expected);
        } else {
            let nth = usize::try_from(step * 31 % tree.len() as u64).unwrap();
            let vm = tree.vms().nth(nth).unwrap();
            tree.remove(vm).unwrap();
        }
    }
}

#[test]
fn operations_touch_a_logarithmic_number_of_nodes() {
    for size in [100_u64, 10_000, 100_000] {
        let mut tree = tree_of(size);
        let bound = 60 * (size.ilog2() as usize + 2);
        for nth in 0..1_000 {
            tree.nodes.touched.set(0);
            tree.insert(VmId(size + nth)).unwrap();
            let touched = tree.nodes.touched.replace(0);
            assert!(touched <= bound, "a join touched {touched} of {size} nodes");
            let leaving =
                tree.nodes.vm(tree.slots.get(VmId(nth * 40_503 % size + nth)).or(tree.nodes.root()).unwrap());
            tree.nodes.touched.set(0);
            tree.remove(leaving).unwrap();
            let touched = tree.nodes.touched.replace(0);
            assert!(touched <= bound, "a leave touched {touched} of {size} nodes");
        }
    }
}

#[test]
fn slots_are_used_again() {
    let mut tree = tree_of(10);
    for nth in 10..1_000 {
        tree.remove(VmId(nth - 10)).unwrap();
        tree.insert(VmId(nth)).unwrap();
    }
    assert_eq!(tree.nodes.slots(), 10);
}
