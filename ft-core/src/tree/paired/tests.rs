use super::*;

/// Entries that one operation may touch, whatever the size of the tree: about 10 for each of the up to five
/// moved VMs.
const TOUCHES: usize = 60;

#[test]
fn operations_touch_as_much_in_a_large_tree_as_in_a_small_one() {
    let mut most = [0; 2];
    for (size, most) in [64, 65_536].into_iter().zip(&mut most) {
        let mut tree = PairedTree::new(Epoch::first(1));
        let mut measure = |tree: &mut PairedTree, operation: &dyn Fn(&mut PairedTree)| {
            tree.touched.set(0);
            operation(tree);
            *most = (*most).max(tree.touched.get());
        };
        for vm in 0..size {
            measure(&mut tree, &|tree| drop(tree.insert(VmId(vm)).unwrap()));
        }
        // A stride that is coprime to the sizes visits every VM, in no particular order of position.
        for vm in (0..size).map(|nth| nth * 40_503 % size) {
            measure(&mut tree, &|tree| drop(tree.remove(VmId(vm)).unwrap()));
        }
        assert!(tree.is_empty());
    }
    assert_eq!(most[0], most[1], "the work must not grow with the tree");
    assert!(most[0] <= TOUCHES, "{} entries touched", most[0]);
}

#[test]
fn the_classes_lie_as_described_and_stay_even() {
    let mut tree = PairedTree::new(Epoch::first(1));
    for step in 0..2_000_u64 {
        // Two joins for every leave.
        if step % 3 < 2 {
            tree.insert(VmId(step)).unwrap();
        } else {
            let nth = usize::try_from(step * 7 % tree.len() as u64).unwrap();
            let vm = tree.heaps[0][nth];
            tree.remove(vm).unwrap();
        }
        assert!(tree.members[0].abs_diff(tree.members[1]) <= 1);
        assert_eq!(tree.members[0] + tree.members[1], tree.len());
        for (k, heap) in tree.heaps.iter().enumerate() {
            assert_eq!(heap.len(), tree.len());
            for (position, vm) in heap.iter().enumerate() {
                let positions = tree.positions.get(*vm).unwrap();
                assert_eq!(positions[k], position, "{vm} is where the index says");
                let of_class_k = position < tree.members[k];
                let of_other = positions[1 - k] < tree.members[1 - k];
                assert!(of_class_k != of_other, "{vm} has one class");
            }
        }
    }
}
