use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

const SHAPES: [Shape; 3] = Shape::ALL;

fn tree_of(shape: Shape, vms: u64) -> Box<dyn FunctionTree + Send> {
    let mut tree = new(shape, Epoch::first(1));
    for vm in 0..vms {
        tree.insert(VmId(vm)).unwrap();
    }
    tree
}

#[test]
fn an_empty_tree_has_nothing() {
    for shape in SHAPES {
        let tree = new(shape, Epoch::first(3));
        assert!(tree.is_empty());
        assert_eq!(tree.len(), 0);
        assert_eq!(tree.epoch(), Epoch::first(3));
        assert_eq!(tree.vms().count(), 0);
        for stripe in [Stripe(0), Stripe(1), Stripe(2)] {
            assert_eq!(tree.root(stripe), None);
            assert_eq!(tree.height(stripe), 0);
            assert_eq!(tree.parent_of(VmId(0), stripe), None);
            assert_eq!(tree.children_of(VmId(0), stripe), [None; 2]);
            assert_eq!(tree.depth_of(VmId(0), stripe), None);
        }
    }
}

#[test]
fn the_first_vm_is_the_root_of_every_stripe() {
    for shape in SHAPES {
        let mut tree = new(shape, Epoch::first(1));
        let change = tree.insert(VmId(7)).unwrap();
        let roots: Vec<EdgeChange> = (0..shape.stripes())
            .map(|stripe| EdgeChange { stripe: Stripe(stripe), child: VmId(7), parent: None })
            .collect();
        assert_eq!(change, Change { epoch: Epoch { term: 1, counter: 1 }, edges: roots, removed: None });
        let change = tree.remove(VmId(7)).unwrap();
        assert_eq!(change.edges, []);
        assert_eq!(change.removed, Some(VmId(7)));
        assert!(tree.is_empty());
        assert_eq!(tree.root(Stripe(0)), None);
    }
}

#[test]
fn a_stripe_that_the_tree_does_not_have_is_empty() {
    for shape in SHAPES {
        let tree = tree_of(shape, 5);
        let stripe = Stripe(shape.stripes());
        assert_eq!(tree.root(stripe), None);
        assert_eq!(tree.height(stripe), 0);
        assert_eq!(tree.parent_of(VmId(1), stripe), None);
        assert_eq!(tree.children_of(VmId(0), stripe), [None; 2]);
        assert_eq!(tree.depth_of(VmId(0), stripe), None);
    }
}

#[test]
fn a_pair_of_two_and_of_three() {
    let tree = tree_of(Shape::Paired, 2);
    assert_eq!(tree.root(Stripe(0)), Some(VmId(0)));
    assert_eq!(tree.root(Stripe(1)), Some(VmId(1)), "each VM is the root of one stripe");
    assert_eq!(tree.parent_of(VmId(1), Stripe(0)), Some(VmId(0)));
    assert_eq!(tree.parent_of(VmId(0), Stripe(1)), Some(VmId(1)));

    let tree = tree_of(Shape::Paired, 3);
    assert_eq!(tree.children_of(VmId(0), Stripe(0)), [Some(VmId(2)), Some(VmId(1))]);
    assert_eq!(tree.children_of(VmId(1), Stripe(1)), [Some(VmId(0)), Some(VmId(2))]);
    assert_eq!(tree.height(Stripe(0)), 1);
    assert_eq!(tree.depth_of(VmId(2), Stripe(1)), Some(1));
}

#[test]
fn a_new_vm_goes_under_the_first_node_with_a_free_child() {
    let tree = tree_of(Shape::Avl, 6);
    let parents: Vec<_> = (0..6).map(|vm| tree.parent_of(VmId(vm), Stripe(0)).map(|vm| vm.0)).collect();
    assert_eq!(parents, [None, Some(0), Some(0), Some(1), Some(1), Some(2)]);
    assert_eq!(tree.vms().collect::<Vec<_>>(), (0..6).map(VmId).collect::<Vec<_>>());
    assert_eq!(tree.height(Stripe(0)), 2);
    assert_eq!(tree.depth_of(VmId(5), Stripe(0)), Some(2));
}

#[test]
fn vms_come_in_level_order_of_the_first_stripe() {
    for shape in SHAPES {
        let mut tree = tree_of(shape, 40);
        for vm in [0, 3, 17, 39, 8, 1] {
            tree.remove(VmId(vm)).unwrap();
        }
        let depths: Vec<_> = tree.vms().map(|vm| tree.depth_of(vm, Stripe(0)).unwrap()).collect();
        assert!(depths.is_sorted(), "{shape}: {depths:?}");
        assert_eq!(depths.len(), 34);
    }
}

#[test]
fn an_error_changes_nothing() {
    for shape in SHAPES {
        let mut tree = tree_of(shape, 9);
        tree.remove(VmId(4)).unwrap();
        let before = alloc::format!("{:?}", edges(&*tree));
        let epoch = tree.epoch();
        assert_eq!(tree.insert(VmId(3)), Err(TreeError::AlreadyIn(VmId(3))));
        assert_eq!(tree.remove(VmId(4)), Err(TreeError::NotIn(VmId(4))));
        assert_eq!(tree.remove(VmId(99)), Err(TreeError::NotIn(VmId(99))));
        assert_eq!(tree.epoch(), epoch);
        assert_eq!(tree.len(), 8);
        assert_eq!(alloc::format!("{:?}", edges(&*tree)), before);
    }
}

#[test]
fn a_removed_vm_can_come_back() {
    for shape in SHAPES {
        let mut tree = tree_of(shape, 4);
        tree.remove(VmId(0)).unwrap();
        assert!(!tree.contains(VmId(0)));
        tree.insert(VmId(0)).unwrap();
        assert!(tree.contains(VmId(0)));
        assert_eq!(tree.len(), 4);
    }
}

#[test]
fn shapes_have_text_forms() {
    for shape in SHAPES {
        assert_eq!(shape.to_string().parse(), Ok(shape));
    }
    assert_eq!("AVL".parse::<Shape>(), Err(ParseShapeError));
}

/// Every edge of the tree.
fn edges(tree: &dyn FunctionTree) -> Vec<EdgeChange> {
    let mut edges = vec![];
    for stripe in (0..tree.stripes()).map(Stripe) {
        edges.extend(tree.vms().map(|child| EdgeChange {
            stripe,
            child,
            parent: tree.parent_of(child, stripe),
        }));
    }
    edges
}
