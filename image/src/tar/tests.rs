use std::io::Read;
use std::process::Command;

use proptest::prelude::*;

use super::testing::{Fields, TarBuilder, seal};
use super::{EndMarker, TarReader};
use crate::Error;
use crate::entry::{Entry, EntryKind, Segment};
use crate::limits::Limits;

/// All members of an archive with their data.
fn read_all(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut tar = TarReader::new(archive, "L", Limits::default(), EndMarker::Required);
    let mut entries = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut data = Vec::new();
        if let Err(e) = tar.data().read_to_end(&mut data) {
            return Err(tar.take_failure().unwrap_or_else(|| panic!("no cause for {e}")));
        }
        entries.push((entry, data));
    }
    Ok(entries)
}

fn one(archive: TarBuilder) -> Result<Entry, String> {
    let mut entries = read_all(&archive.finish()).map_err(|e| e.to_string())?;
    assert_eq!(entries.len(), 1);
    Ok(entries.remove(0).0)
}

#[test]
fn every_kind_of_member() {
    let device = |kind, name| Fields { device: (8, 1), ..Fields::new(kind, name) };
    let archive = TarBuilder::default()
        .dir("./")
        .dir("etc/")
        .member(&Fields { mode: 0o104755, uid: 70_000_000, gid: 5, ..Fields::new(b'0', "/etc/su") }, b"data")
        .file("empty", b"")
        .member(&Fields::new(b'2', "link").link("../../anything"), b"")
        .member(&Fields::new(b'1', "hard").link("./etc/su"), b"")
        .member(&device(b'3', "char"), b"")
        .member(&device(b'4', "block"), b"")
        .member(&Fields::new(b'6', "fifo"), b"")
        .member(&Fields::new(b'\0', "v7dir/"), b"")
        .member(&Fields::new(b'7', "contiguous"), b"xy")
        .finish();
    let entries = read_all(&archive).unwrap();
    let kinds: Vec<_> = entries.iter().map(|(e, _)| (e.path.as_slice(), &e.kind)).collect();
    assert_eq!(
        kinds,
        [
            (&b""[..], &EntryKind::Directory),
            (b"etc", &EntryKind::Directory),
            (b"etc/su", &EntryKind::dense_file(4)),
            (b"empty", &EntryKind::dense_file(0)),
            (b"link", &EntryKind::Symlink(b"../../anything".to_vec())),
            (b"hard", &EntryKind::HardLink(b"etc/su".to_vec())),
            (b"char", &EntryKind::CharDevice { major: 8, minor: 1 }),
            (b"block", &EntryKind::BlockDevice { major: 8, minor: 1 }),
            (b"fifo", &EntryKind::Fifo),
            (b"v7dir", &EntryKind::Directory),
            (b"contiguous", &EntryKind::dense_file(2)),
        ]
    );
    let (su, data) = &entries[2];
    assert_eq!((su.meta.mode, su.meta.uid, su.meta.gid), (0o4755, 70_000_000, 5));
    assert_eq!((su.meta.mtime_secs, data.as_slice()), (1_700_000_000, &b"data"[..]));
}

#[test]
fn pax_overrides_the_header() {
    let long = [b"x".repeat(200), b"y\nz".to_vec(), b"\xff\xfe".to_vec()].join(&b'/');
    let archive = TarBuilder::default()
        .extension(b'g', &[("uid", b"1"), ("gid", b"2"), ("comment", b"hello")])
        .pax(&[
            ("path", &long),
            ("uid", b"4000000000"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.b", b"\0\n=\xff"),
            ("LIBARCHIVE.xattr.user.a%20b", b"AQI"),
        ])
        .file("short", b"abc");
    let entry = one(archive).unwrap();
    assert_eq!(entry.path, long);
    assert_eq!((entry.meta.uid, entry.meta.gid), (4_000_000_000, 2));
    assert_eq!((entry.meta.mtime_secs, entry.meta.mtime_nanos), (-2, 500_000_000));
    let xattrs = [(b"user.a b".to_vec(), vec![1, 2]), (b"user.b".to_vec(), b"\0\n=\xff".to_vec())];
    assert_eq!(entry.meta.xattrs, xattrs);
}

#[test]
fn a_pax_header_holds_for_one_member_and_its_size_not_for_extensions() {
    let archive = TarBuilder::default()
        .pax(&[("uid", b"7"), ("size", b"3")])
        .member(&Fields::new(b'L', "././@LongLink"), b"long\0")
        .raw(&Fields { size: 999, ..Fields::new(b'0', "short") }.header())
        .raw(b"abc")
        .raw(&[0; 509])
        .file("next", b"")
        .finish();
    let entries = read_all(&archive).unwrap();
    assert_eq!(entries[0].0.path, b"long");
    assert_eq!(entries[0].1, b"abc");
    assert_eq!(entries[1].0.path, b"next");
    assert_eq!((entries[0].0.meta.uid, entries[1].0.meta.uid), (7, 0));
}

#[test]
fn hostile_names_are_named_in_the_error() {
    let refused = |archive: TarBuilder| one(archive).unwrap_err();
    assert_eq!(
        refused(TarBuilder::default().file("../../etc/passwd", b"")),
        "layer L, entry ../../etc/passwd: its path contains '..'"
    );
    assert_eq!(
        refused(TarBuilder::default().member(&Fields::new(b'1', "a").link("/../b"), b"")),
        "layer L, entry a: its hard link's target contains '..'"
    );
    assert_eq!(
        refused(TarBuilder::default().pax(&[("path", b"a\0b")]).file("x", b"")),
        "layer L, entry a\\u{0}b: its path contains a NUL byte"
    );
    assert!(refused(TarBuilder::default().member(&Fields::new(b'2', "s"), b"")).contains("target is empty"));
    assert!(refused(TarBuilder::default().member(&Fields::new(b'6', "."), b"")).contains("path is empty"));
    assert!(refused(TarBuilder::default().member(&Fields::new(b'M', "m"), b"")).contains("type 'M'"));
}

#[test]
fn claims_are_not_believed() {
    let huge = Fields { size: 10 << 40, ..Fields::new(b'0', "huge") };
    let archive = |fields: &Fields| TarBuilder::default().raw(&fields.header()).raw(b"only this").finish();
    let error = |archive: Vec<u8>| read_all(&archive).unwrap_err().to_string();
    assert_eq!(error(archive(&huge)), "layer L, entry huge: the archive ends in the middle of it");
    let large = Fields { size: 10 << 30, ..huge };
    assert_eq!(error(archive(&large)), "layer L, entry huge: the archive ends in the middle of it");
    let unread = archive(&large);
    let mut tar = TarReader::new(&unread[..], "L", Limits::default(), EndMarker::Optional);
    assert!(tar.next_entry().unwrap().is_some());
    assert!(tar.next_entry().unwrap_err().to_string().contains("ends in the middle"));
    let header = Fields { size: 2 << 20, ..Fields::new(b'x', "pax") };
    assert!(error(archive(&header)).contains("extended header is larger than 1048576"));
    let attribute = TarBuilder::default().pax(&[("SCHILY.xattr.user.a", &[0; 70_000])]).file("f", b"");
    assert!(error(attribute.finish()).contains("extended attribute is larger"));
}

#[test]
fn the_number_of_entries_is_limited() {
    let archive = (0..5).fold(TarBuilder::default(), |tar, n| tar.file(format!("f{n}"), b"")).finish();
    let limits = Limits { layer_entries: 4, ..Limits::default() };
    let mut tar = TarReader::new(&archive[..], "L", limits, EndMarker::Required);
    for _ in 0..4 {
        assert!(tar.next_entry().unwrap().is_some());
    }
    assert_eq!(tar.next_entry().unwrap_err().to_string(), "layer L: it has more than 4 entries");
}

#[test]
fn extended_headers_do_not_pile_up() {
    let global = |count: u32, len: usize| {
        let add = |tar: TarBuilder, n: u32| {
            tar.extension(b'g', &[(&format!("SCHILY.xattr.user.{n}"), &vec![b'x'; len])])
        };
        one((0..count).fold(TarBuilder::default(), add).file("f", b""))
    };
    assert_eq!(global(50, 1).unwrap().meta.xattrs.len(), 50);
    // A few long ones, and many short ones.
    for (count, len) in [(2, 2000), (60, 1)] {
        let error = global(count, len).unwrap_err();
        assert!(error.ends_with("its set of global attributes is larger than 4096"), "{error}");
    }
    let twice =
        TarBuilder::default().pax(&[("SCHILY.xattr.user.a", b"1")]).pax(&[("uid", b"7")]).file("f", b"");
    let meta = one(twice).unwrap().meta;
    assert_eq!((meta.uid, meta.xattrs.len()), (7, 0));
}

#[test]
fn what_is_no_tar_is_said_to_be_none() {
    assert!(read_all(&[b'x'; 4096]).unwrap_err().to_string().starts_with("layer L: it is not a tar archive"));
    assert!(read_all(b"").unwrap_err().to_string().contains("no. 1"));
    let mut damaged = TarBuilder::default().file("a", b"").file("b", b"").finish();
    damaged[512] ^= 1;
    let error = read_all(&damaged).unwrap_err().to_string();
    assert!(error.starts_with("layer L, entry after a: its header's checksum is wrong"), "{error}");
}

#[test]
fn sparse_files_in_all_pax_forms() {
    let segments = vec![Segment { offset: 4096, len: 3 }, Segment { offset: 9000, len: 2 }];
    let want = EntryKind::File { size: 10_000, segments };
    let mut with_map = b"2\n4096\n3\n9000\n2\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend_from_slice(b"abcde");
    type Records<'a> = &'a [(&'a str, &'a [u8])];
    let forms: [(Records<'_>, &[u8]); 3] = [
        (
            &[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"4096"),
                ("GNU.sparse.numbytes", b"3"),
                ("GNU.sparse.offset", b"9000"),
                ("GNU.sparse.numbytes", b"2"),
            ],
            b"abcde",
        ),
        (
            &[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.name", b"real"),
                ("GNU.sparse.map", b"4096,3,9000,2"),
            ],
            b"abcde",
        ),
        (
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"real"),
                ("GNU.sparse.realsize", b"10000"),
            ],
            &with_map,
        ),
    ];
    for (records, data) in forms {
        let archive = TarBuilder::default().pax(records).file("real", data).file("next", b"").finish();
        let entries = read_all(&archive).unwrap();
        assert_eq!(entries[0].0.path, b"real");
        assert_eq!(entries[0].0.kind, want);
        assert_eq!(entries[0].1, b"abcde");
        assert_eq!(entries[1].0.path, b"next");
    }
}

#[test]
fn old_gnu_sparse_with_continuation() {
    let mut header = Fields { size: 6, ..Fields::new(b'S', "sparse") }.header();
    header[257..265].copy_from_slice(b"ustar  \0");
    header[345..500].fill(0);
    let pair = |at: &mut [u8], offset: u64, len: u64| {
        at[..12].copy_from_slice(format!("{offset:011o}\0").as_bytes());
        at[12..24].copy_from_slice(format!("{len:011o}\0").as_bytes());
    };
    for n in 0..4 {
        pair(&mut header[386 + 24 * n..], 8192 * n as u64, 1);
    }
    header[482] = 1;
    header[483..495].copy_from_slice(b"00000200000\0");
    seal(&mut header);
    let mut more = [0; 512];
    pair(&mut more, 40_000, 2);
    let archive = TarBuilder::default().raw(&header).raw(&more).raw(b"abcdef").raw(&[0; 506]).finish();
    let (entry, data) = read_all(&archive).unwrap().remove(0);
    let EntryKind::File { size, segments } = entry.kind else { panic!("{entry:?}") };
    assert_eq!((size, segments.len(), segments[4]), (65_536, 5, Segment { offset: 40_000, len: 2 }));
    assert_eq!(data, b"abcdef");
}

/// A bit of everything, for cutting and mutating.
fn sample() -> Vec<u8> {
    TarBuilder::default()
        .dir("d")
        .extension(b'g', &[("uid", b"1")])
        .pax(&[("path", b"d/long"), ("SCHILY.xattr.user.a", b"1\n2"), ("mtime", b"12.25")])
        .file("short", &[7; 700])
        .member(&Fields::new(b'K', "././@LongLink"), &b"t".repeat(120))
        .member(&Fields::new(b'2', "s").link("t"), b"")
        .pax(&[("GNU.sparse.size", b"99"), ("GNU.sparse.map", b"5,3"), ("GNU.sparse.numblocks", b"1")])
        .file("sparse", b"abc")
        .finish()
}

#[test]
fn every_truncation_is_an_error() {
    let whole = sample();
    assert!(read_all(&whole).is_ok());
    // The last block may go: one zero block is an end.
    for len in 0..whole.len() - 512 {
        let error = read_all(&whole[..len]).expect_err("cut");
        let named = matches!(error, Error::Entry { .. });
        assert!(named, "cut at {len}: {error}");
    }
}

#[test]
fn without_an_end_marker_only_where_a_digest_vouches() {
    let archive = TarBuilder::default().file("a", b"x").unfinished();
    assert!(read_all(&archive).is_err());
    let mut tar = TarReader::new(&archive[..], "L", Limits::default(), EndMarker::Optional);
    assert!(tar.next_entry().unwrap().is_some());
    assert!(tar.next_entry().unwrap().is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = read_all(&bytes);
    }

    /// Damage inside a sealed header gets past the checksum, to the code behind it.
    #[test]
    fn mutated_archives_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        reseal in any::<bool>(),
    ) {
        let mut archive = sample();
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
            if reseal {
                let block: &mut [u8; 512] = (&mut archive[at / 512 * 512..][..512]).try_into().unwrap();
                if block[257..262] == *b"ustar" {
                    seal(block);
                }
            }
        }
        for (entry, data) in read_all(&archive).unwrap_or_default() {
            check_invariants(&entry, &data);
        }
    }
}

/// What the model promises of every entry.
fn check_invariants(entry: &Entry, data: &[u8]) {
    assert!(entry.path.split(|b| *b == b'/').all(|name| !matches!(name, b"." | b"..")));
    assert!(!entry.path.starts_with(b"/") && !entry.path.contains(&0));
    assert!(entry.meta.mode <= 0o7777 && entry.meta.mtime_nanos < 1_000_000_000);
    if let EntryKind::File { size, segments } = &entry.kind {
        assert!(segments.windows(2).all(|two| two[0].offset + two[0].len <= two[1].offset));
        assert!(segments.iter().all(|part| part.len > 0 && part.offset + part.len <= *size));
        assert_eq!(segments.iter().map(|part| part.len).sum::<u64>(), data.len() as u64);
    } else {
        assert!(data.is_empty());
    }
}

/// Runs a command; its standard output.
fn run(program: &str, args: &[&str], dir: &std::path::Path) -> Vec<u8> {
    let output = Command::new(program).args(args).current_dir(dir).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}; `cargo xtask test` installs it"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn archives_of_other_programs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let deep = format!("d/{}/{}", "n".repeat(120), "m".repeat(120));
    std::fs::create_dir_all(at.join(&deep)).unwrap();
    std::fs::write(at.join(&deep).join("f"), b"hello").unwrap();
    std::fs::hard_link(at.join(&deep).join("f"), at.join("d/hard")).unwrap();
    std::os::unix::fs::symlink("s".repeat(150), at.join("d/sym")).unwrap();
    let sparse = std::fs::File::create(at.join("d/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();

    let gnu = |args: &[&str]| run("tar", &[args, &["--sort=name", "-Scf", "-", "d"]].concat(), at);
    for archive in [
        gnu(&["--format=gnu"]),
        gnu(&["--format=pax", "--sparse-version=0.0"]),
        gnu(&["--format=pax", "--sparse-version=0.1"]),
        gnu(&["--format=pax", "--sparse-version=1.0"]),
        run("bsdtar", &["--format=pax", "-cf", "-", "d"], at),
    ] {
        let mut entries = read_all(&archive).unwrap();
        entries.sort_by(|a, b| a.0.path.cmp(&b.0.path));
        let find = |path: &str| {
            let found = entries.iter().find(|(entry, _)| entry.path == path.as_bytes());
            found.unwrap_or_else(|| panic!("no {path}"))
        };
        let file = format!("{deep}/f");
        let (first, second) = (find(&file), find("d/hard"));
        let kinds = [&first.0.kind, &second.0.kind];
        assert!(kinds.contains(&&EntryKind::dense_file(5)), "{kinds:?}");
        assert!(kinds.iter().any(|kind| matches!(kind, EntryKind::HardLink(_))), "{kinds:?}");
        assert_eq!(find("d/sym").0.kind, EntryKind::Symlink(b"s".repeat(150)));
        let (sparse, data) = find("d/sparse");
        let EntryKind::File { size, segments } = &sparse.kind else { panic!("{sparse:?}") };
        assert_eq!(*size, 3 << 20);
        assert!(data.len() < 1 << 20, "holes are holes: {segments:?}");
        let one = segments.iter().find(|part| part.offset <= 1 << 20 && 1 << 20 < part.offset + part.len);
        assert!(one.is_some(), "{segments:?}");
    }
}
