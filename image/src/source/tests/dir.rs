use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::read;
use crate::Error;
use crate::entry::{Entry, EntryKind, LayerSink, Segment};
use crate::source::{OpenOptions, Source};

fn source(at: &Path) -> String {
    format!("dir:{}", at.display())
}

#[test]
fn a_tree_in_byte_order_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir(at.join("b")).unwrap();
    fs::write(at.join("b/x"), b"data").unwrap();
    fs::set_permissions(at.join("b/x"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(at.join("b/x"), at.join("a")).unwrap();
    symlink("/etc/passwd", at.join("link")).unwrap();
    fs::write(at.join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at.join("fifo"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
    xattr::set(at.join("b/x"), "user.note", b"a\0b").unwrap();

    let collect = read(&source(at)).unwrap();
    let paths: Vec<_> = collect.0.iter().map(|(entry, _)| entry.path.as_slice()).collect();
    assert_eq!(paths, [&b""[..], b"a", b"b", b"b/x", b"fifo", b"link", b"\xff"]);
    let (first, data) = collect.at("a");
    assert_eq!((first.meta.mode, data.as_slice()), (0o4711, &b"data"[..]));
    assert_eq!(first.meta.xattrs, [(b"user.note".to_vec(), b"a\0b".to_vec())]);
    let found = fs::metadata(at.join("a")).unwrap();
    assert_eq!(first.meta.mtime_secs, found.mtime());
    assert_eq!(i64::from(first.meta.mtime_nanos), found.mtime_nsec());
    assert_eq!((first.meta.uid, first.meta.gid), (found.uid(), found.gid()));
    assert_eq!(collect.at("b/x").0.kind, EntryKind::HardLink(b"a".to_vec()));
    assert_eq!(collect.at("link").0.kind, EntryKind::Symlink(b"/etc/passwd".to_vec()));
    assert_eq!(collect.at("fifo").0.kind, EntryKind::Fifo);

    let beside = tempfile::tempdir().unwrap();
    symlink(at, beside.path().join("way")).unwrap();
    assert_eq!(
        read(&source(&beside.path().join("way"))).unwrap().0.len(),
        7,
        "a link to the root is followed"
    );
}

#[test]
fn holes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("sparse")).unwrap();
    file.write_all_at(b"x", 1 << 20).unwrap();
    file.set_len(10 << 30).unwrap();
    File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
    file.sync_all().unwrap();
    let collect = read(&source(dir.path())).unwrap();
    let (entry, data) = collect.at("sparse");
    let EntryKind::File { size, segments } = &entry.kind else { panic!("{entry:?}") };
    assert_eq!(*size, 10 << 30);
    let [Segment { offset, len }] = segments[..] else { panic!("{segments:?}") };
    assert!(offset <= 1 << 20 && (1 << 20) < offset + len && len <= 64 << 10, "{segments:?}");
    assert_eq!(data.iter().filter(|byte| **byte != 0).count(), 1);
    assert_eq!(collect.at("hole").0.kind, EntryKind::File { size: 1 << 30, segments: Vec::new() });
}

/// Changes a file as soon as it is asked to take it.
struct Meddler<'a>(&'a dyn Fn());

impl LayerSink for Meddler<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        if entry.path == b"f" {
            (self.0)();
        }
        std::io::copy(data, &mut std::io::sink()).map(drop).map_err(Error::io("x"))
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let append = || fs::write(&path, b"longer than before").unwrap();
    let shorten = || File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
    let touch = || fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let changes: [&dyn Fn(); 3] = [&append, &shorten, &touch];
    for change in changes {
        fs::write(&path, b"before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let source = Source::Dir(dir.path().into()).open(&OpenOptions::default()).unwrap();
        let error = source.read_layer(0, &mut Meddler(change), &()).unwrap_err().to_string();
        let label = dir.path().display();
        assert!(error.starts_with(&format!("layer {label}, entry f: it changed while it was being read")));
    }
    fs::write(&path, b"before").unwrap();
    let source = Source::Dir(dir.path().into()).open(&OpenOptions::default()).unwrap();
    source.read_layer(0, &mut Meddler(&|| ()), &()).unwrap();
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), b"").unwrap();
    let error = super::error(&source(&dir.path().join("f")));
    assert!(error.contains("f: not a directory"), "{error}");
}
