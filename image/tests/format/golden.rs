//! The same input gives the same bytes on every machine, now and later.

use crate::synthetic::{build, file, layers};

/// A change of this digest is a change of every image's identity: of the format, of a codec or of the order
/// of things. It needs an entry in the change log, and perhaps a new format version.
const GOLDEN: &str = "sha256:56a7f0ab3bf3ac33be3170fa161fcf1f1690de5b6028411433dde1c0cd39ff86";

fn digest(threads: usize) -> String {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), &layers(), threads).digest.to_string()
}

#[test]
fn the_digest_is_the_committed_one() {
    assert_eq!(digest(2), GOLDEN);
}

#[test]
fn neither_the_run_nor_the_number_of_threads_changes_the_digest() {
    let first = digest(1);
    for threads in [1, 2, 3, 7] {
        assert_eq!(digest(threads), first, "{threads} threads");
    }
}

#[test]
fn a_layers_segment_does_not_depend_on_the_layers_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let all = layers();
    let whole = build(dir.path(), &all, 2);
    let bottom_alone = build(dir.path(), &all[..1], 2);
    let other_bottom = vec![file("large", b"for the hard link in the middle layer".to_vec())];
    let other = build(dir.path(), &[other_bottom, all[1].clone(), all[2].clone()], 2);
    assert_eq!(whole.manifest.segments[1], bottom_alone.manifest.segments[1]);
    assert_ne!(whole.manifest.segments[1], other.manifest.segments[1]);
    assert_eq!(whole.manifest.segments[2..], other.manifest.segments[2..]);
}
