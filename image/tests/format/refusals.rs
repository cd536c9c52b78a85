//! Hostile or broken layers are refused with an error that names the layer and the entry, and leave nothing.

use std::fs;
use std::io::Read;

use ft_image::builder::{BuildOptions, ImageBuilder, ImageLimits};
use ft_image::entry::{Entry, EntryKind, Meta, Segment};
use ft_image::{Error, LayerSink};

use crate::synthetic::{Item, directory, file, special, whiteout, with_xattrs};

/// Small limits, so that small tests reach them.
const LIMITS: ImageLimits = ImageLimits {
    entries: 50,
    directory_entries: 20,
    data_bytes: 1 << 20,
    padding_bytes: 20_000,
    file_bytes: 1 << 30,
    chunks: 1000,
    xattr_bytes: 100,
    total_xattr_bytes: 500,
    symlink_bytes: 30,
};

/// Gives `items` as the second layer's entries, each with its own data, to a builder, and returns its error's
/// text.
fn refused(items: &[Item]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let options = BuildOptions { limits: LIMITS, threads: 2, ..BuildOptions::new(dir.path()) };
    let mut builder = ImageBuilder::new(options);
    let mut below = builder.begin_layer("below").unwrap();
    let lower = [
        special("link", EntryKind::Symlink(b"/etc".to_vec())),
        directory("dir"),
        file("file", vec![7; 600_000]),
    ];
    feed(&mut below, &lower).unwrap();
    below.finish().unwrap();
    let error = {
        let mut layer = builder.begin_layer("LAYER").unwrap();
        feed(&mut layer, items).unwrap_err().to_string()
    };
    drop(builder);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no pack is left behind");
    error
}

fn feed(sink: &mut dyn LayerSink, items: &[Item]) -> Result<(), Error> {
    items.iter().try_for_each(|(entry, data)| sink.entry(entry, &mut &data[..]))
}

fn sized(path: &str, size: u64, segments: Vec<Segment>) -> Item {
    let kind = EntryKind::File { size, segments };
    (Entry { path: path.into(), meta: Meta::default(), kind }, Vec::new())
}

#[track_caller]
fn assert_names(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn nothing_goes_through_links_or_files() {
    for path in ["link/passwd", "link/deeper/passwd", "file/x", "link/.wh.passwd", "file/.wh..wh..opq"] {
        let error = refused(&[file(path, b"x".to_vec())]);
        assert_names(&error, &["layer LAYER", path, "leads through a symbolic link"]);
    }
}

#[test]
fn paths_are_checked_again() {
    for (path, reason) in [
        ("../x", "has . or .. in it"),
        ("a/./b", "has . or .. in it"),
        ("/etc", "has an empty name"),
        ("a//b", "has an empty name"),
        ("nul\0", "NUL"),
        (&"n".repeat(256), "longer than 255"),
        (&"n/".repeat(2050), "longer than 4096"),
        (".wh.", "whiteout of nothing"),
        ("dir/.wh...", "whiteout of nothing, of . or of .."),
        (".wh.dir/file", "below a whiteout"),
    ] {
        assert_names(&refused(&[file(path, Vec::new())]), &["layer LAYER", "entry", reason]);
    }
    assert_names(&refused(&[file("", Vec::new())]), &["layer LAYER", "entry /", "only be a directory"]);
}

#[test]
fn hard_links_need_a_target() {
    for (target, reason) in [
        ("nowhere", "does not exist"),
        ("link/passwd", "does not exist"),
        ("dir", "is a directory"),
        ("", "is a directory"),
        ("hard", "is the entry itself"),
        ("../../etc/passwd", "has . or .. in it"),
    ] {
        let error = refused(&[special("hard", EntryKind::HardLink(target.into()))]);
        assert_names(&error, &["layer LAYER, entry hard", "hard link target", reason]);
    }
    let gone = [whiteout(".wh.file"), special("hard", EntryKind::HardLink(b"file".to_vec()))];
    assert_names(&refused(&gone), &["entry hard", "does not exist"]);
}

#[test]
fn claims_are_refused_before_they_are_read() {
    let ten_tb = 10 << 40;
    let data = vec![Segment { offset: 0, len: ten_tb }];
    assert_names(&refused(&[sized("huge", ten_tb, data)]), &["layer LAYER, entry huge", "claimed size"]);
    let hole = sized("hole", ten_tb, Vec::new());
    assert_names(&refused(&[hole]), &["entry hole", "claimed size"]);
    // 600,000 bytes are in the layer below.
    let half = vec![Segment { offset: 0, len: 500_000 }];
    assert_names(&refused(&[sized("half", 500_000, half)]), &["entry half", "claimed data", "1048576"]);
    let sparse: Vec<_> = (0..10).map(|n| Segment { offset: n * 8192, len: 1 }).collect();
    assert_names(&refused(&[sized("sparse", 1 << 24, sparse)]), &["entry sparse", "sparse parts"]);
}

/// A file of `parts` parts of one byte each, one every 8,192 bytes: stored, each is a block with 4,095 zeros.
fn scattered(path: &str, parts: u64) -> Item {
    let segments = (0..parts).map(|n| Segment { offset: n * 8192, len: 1 }).collect();
    let (entry, _) = sized(path, parts * 8192, segments);
    (entry, vec![1; usize::try_from(parts).unwrap()])
}

/// Gives `items` to a builder that allows for 20,000 bytes of zeros more than data.
fn padded(items: &[Item]) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    let limits = ImageLimits { padding_bytes: 20_000, ..ImageLimits::default() };
    let options = BuildOptions { limits, threads: 1, ..BuildOptions::new(dir.path()) };
    feed(&mut ImageBuilder::new(options).begin_layer("LAYER").unwrap(), items)
}

#[test]
fn zeros_in_the_place_of_holes_must_not_outweigh_data() {
    padded(&[scattered("few", 4)]).unwrap();
    let error = padded(&[scattered("few", 4), scattered("one-more", 1)]).unwrap_err().to_string();
    assert_names(&error, &["layer LAYER, entry one-more", "too scattered", "20000"]);
    let dense = file("dense", vec![7; 100_000]);
    padded(&[dense.clone(), scattered("many", 29)]).unwrap();
    let error = padded(&[dense, scattered("too-many", 30)]).unwrap_err().to_string();
    assert_names(&error, &["entry too-many", "too scattered"]);
}

#[test]
fn claimed_data_allows_for_no_zeros() {
    let (mut entry, data) = scattered("liar", 10);
    if let EntryKind::File { size, segments } = &mut entry.kind {
        segments.push(Segment { offset: *size, len: 1 << 30 });
        *size += 1 << 30;
    }
    assert_names(&padded(&[(entry, data)]).unwrap_err().to_string(), &["entry liar", "too scattered"]);
}

#[test]
fn what_fills_up_the_last_block_is_no_hole() {
    let small: Vec<_> = (0..60).map(|n| file(format!("small-{n}"), vec![7])).collect();
    padded(&small).unwrap();
}

#[test]
fn broken_sparse_maps_are_refused() {
    for segments in [vec![(10, 5), (12, 1)], vec![(0, 101)], vec![(u64::MAX, 2)], vec![(5, 0)]] {
        let segments = segments.into_iter().map(|(offset, len)| Segment { offset, len }).collect();
        assert_names(&refused(&[sized("f", 100, segments)]), &["layer LAYER, entry f", "overlap"]);
    }
}

#[test]
fn data_that_ends_early_or_fails_is_named() {
    let half = vec![Segment { offset: 0, len: 1000 }];
    assert_names(&refused(&[sized("short", 1000, half.clone())]), &["entry short", "ends in the middle"]);

    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut builder = ImageBuilder::new(BuildOptions::new(dir.path()));
    let mut layer = builder.begin_layer("LAYER").unwrap();
    let error = layer.entry(&sized("f", 1000, half).0, &mut Failing).unwrap_err().to_string();
    assert_names(&error, &["layer LAYER, entry f", "the disk is on fire"]);
}

#[test]
fn everything_is_limited() {
    let many: Vec<_> = (0..60).map(|n| directory(&format!("d{n}/d"))).collect();
    assert_names(&refused(&many), &["layer LAYER", "directory's number of entries", "20"]);
    let all: Vec<_> = (0..60).map(|_| directory("again")).collect();
    assert_names(&refused(&all), &["layer LAYER", "more than 50 entries"]);
    let deep = [directory(&["d"; 60].join("/")), directory("one-more")];
    assert_names(&refused(&deep), &["layer LAYER", "more than 50 entries"]);
    let target = EntryKind::Symlink(vec![b'x'; 31]);
    assert_names(&refused(&[special("s", target)]), &["entry s", "symbolic link target", "30"]);
    assert_names(&refused(&[special("s", EntryKind::Symlink(Vec::new()))]), &["entry s", "is empty"]);
    let xattrs = with_xattrs(directory("x"), &[("user.long", &[0; 100])]);
    assert_names(&refused(&[xattrs]), &["entry x", "xattrs", "100"]);
    let each: Vec<_> = (0..10).map(|n| with_xattrs(directory("x"), &[("user.n", &[n; 80])])).collect();
    assert_names(&refused(&each), &["layer LAYER", "more than 500 bytes of xattrs"]);
    let device = EntryKind::CharDevice { major: 4096, minor: 0 };
    assert_names(&refused(&[special("dev", device)]), &["entry dev", "4096:0"]);
}

#[test]
fn the_number_of_layers_is_limited() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = ImageBuilder::new(BuildOptions::new(dir.path()));
    for _ in 0..1023 {
        builder.begin_layer("one of many").unwrap().finish().unwrap();
    }
    assert_names(&builder.begin_layer("LAYER").unwrap_err().to_string(), &["layer LAYER", "1023"]);
}
