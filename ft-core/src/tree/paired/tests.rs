use super::*;

/// Entries that one operation may touch, whatever the size of the tree: about 15 for each of the up to five
/// moved VMs, and the looks at who is lent.
const TOUCHES: usize = 100;

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
fn the_groups_lie_as_described_and_stay_even() {
    for seed in 0..4 {
        let mut tree = PairedTree::new(Epoch::first(1));
        for step in 0..2_000_u64 {
            let nth = usize::try_from(step * 7).unwrap() % tree.len().max(1);
            match (step % 8, tree.at(0, nth)) {
                // Every other tree grows, every other one stays small.
                (4 | 5, Some(vm)) if seed % 2 == 0 || step % 8 == 4 => drop(tree.remove(vm).unwrap()),
                (6 | 7, Some(vm)) if seed > 1 => drop(tree.set_slow(vm, step % 3 > 0).unwrap()),
                (4 | 5, Some(_)) | (6 | 7, _) => {}
                _ => drop(tree.insert(VmId(step)).unwrap()),
            }
            check_groups(&tree);
        }
    }
}

fn check_groups(tree: &PairedTree) {
    for slow in [false, true] {
        assert!(tree.members(0, slow).abs_diff(tree.members(1, slow)) <= 1);
    }
    for (k, heap) in tree.heaps.iter().enumerate() {
        assert_eq!(heap.len(), tree.len());
        assert!(tree.ends[k].is_sorted());
        assert_eq!(tree.ends[k][GROUPS - 1], tree.len());
        for (position, vm) in heap.iter().enumerate() {
            let positions = tree.positions.get(*vm).unwrap();
            assert_eq!(positions[k], position, "{vm} is where the index says");
            let rank = tree.ends[k].iter().position(|end| position < *end).unwrap();
            assert_eq!(Some(Group::at(k, rank)), tree.group_of(*vm), "{vm} has one group");
            let sends = |tree: usize| 2 * positions[tree] + 1 < heap.len();
            let group = Group::at(k, rank);
            match group.kind {
                Kind::Plain => assert!(!sends(1 - group.class), "{vm} is plain"),
                Kind::Lent => assert!(sends(1 - group.class), "{vm} is lent"),
                Kind::Slow => assert!(!(sends(0) && sends(1)), "{vm} is slow"),
            }
        }
    }
}
