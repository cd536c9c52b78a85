use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, DateTime, ZipWriter};
use proptest::prelude::*;

use super::{error, read, read_with};
use crate::entry::EntryKind;
use crate::limits::Limits;
use crate::source::OpenOptions;
use crate::source::testing::{gzip, zstd};
use crate::tar::testing::TarBuilder;

/// Writes a package and gives its SOURCE.
fn package(dir: &Path, transport: &str, bytes: &[u8]) -> String {
    let path = dir.join("package");
    fs::write(&path, bytes).unwrap();
    format!("{transport}:{}", path.display())
}

#[test]
fn tar_files_in_every_compression() {
    let dir = tempfile::tempdir().unwrap();
    let tar = TarBuilder::default().dir("bin").file("bin/x", b"hello").finish();
    for bytes in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let collect = read(&package(dir.path(), "tar", &bytes)).unwrap();
        assert_eq!(collect.paths(), ["bin", "bin/x"]);
        assert_eq!(collect.at("bin/x").1, b"hello");
    }
}

#[test]
fn a_cut_tar_file_is_an_error_wherever_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let tar = TarBuilder::default().dir("bin").file("bin/x", b"hello").finish();
    let label = format!("layer {}", dir.path().join("package").display());
    for len in (0..tar.len() - 512).step_by(64) {
        let found = error(&package(dir.path(), "tar", &tar[..len]));
        assert!(found.starts_with(&format!("{label}, entry ")), "{len}: {found}");
    }
    let compressed = gzip(&tar);
    for len in 0..compressed.len() {
        let found = error(&package(dir.path(), "tar", &compressed[..len]));
        assert!(found.starts_with(&label), "{len}: {found}");
    }
}

#[test]
fn a_missing_package_is_named() {
    for transport in ["tar", "zip", "dir", "oci", "oci-archive", "docker-archive"] {
        let found = error(&format!("{transport}:/nowhere/x"));
        assert!(found.contains("/nowhere/x"), "{found}");
    }
}

#[test]
fn zip_packages_of_other_programs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir(at.join("d")).unwrap();
    fs::write(at.join("d/é"), "x".repeat(10_000)).unwrap();
    let script = at.join("d/run");
    fs::write(&script, b"#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("../x", at.join("d/link")).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_891);
    fs::File::open(&script).unwrap().set_modified(time).unwrap();
    let status = Command::new("zip").args(["-qry", "p.zip", "d"]).current_dir(at).status();
    assert!(status.expect("zip is missing: `cargo xtask test` installs it").success());

    let collect = read(&format!("zip:{}", at.join("p.zip").display())).unwrap();
    assert_eq!(collect.at("d").0.kind, EntryKind::Directory);
    assert_eq!(collect.at("d/é").1.len(), 10_000);
    assert_eq!(collect.at("d/link").0.kind, EntryKind::Symlink(b"../x".to_vec()));
    let (run, data) = collect.at("d/run");
    assert_eq!((run.meta.mode, run.meta.mtime_secs, run.meta.uid), (0o750, 1_234_567_891, 0));
    assert_eq!(data, b"#!/bin/sh\n");
}

/// A package of one member each, made by `add`.
fn zip(add: impl FnOnce(&mut ZipWriter<std::io::Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    add(&mut writer);
    writer.finish().unwrap().into_inner()
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn two_files() -> Vec<u8> {
    zip(|zip| {
        zip.start_file("a", stored().unix_permissions(0o755)).unwrap();
        zip.write_all(b"some text").unwrap();
        zip.start_file("b", SimpleFileOptions::default()).unwrap();
        zip.write_all(&[b'z'; 5000]).unwrap();
    })
}

#[test]
fn dos_times_are_utc() {
    let dir = tempfile::tempdir().unwrap();
    let seconds = |year, month, day, hour, minute, second| {
        let time = DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap();
        let bytes = zip(|zip| zip.start_file("x", stored().last_modified_time(time)).unwrap());
        read(&package(dir.path(), "zip", &bytes)).unwrap().at("x").0.meta.mtime_secs
    };
    // `date -u -d … +%s`
    assert_eq!(seconds(1980, 1, 1, 0, 0, 0), 315_532_800);
    assert_eq!(seconds(2000, 2, 29, 12, 30, 2), 951_827_402);
    assert_eq!(seconds(2023, 12, 31, 23, 59, 58), 1_704_067_198);
    assert_eq!(seconds(2100, 3, 1, 0, 0, 0), 4_107_542_400);
}

#[test]
fn hostile_names_in_zip_packages() {
    let dir = tempfile::tempdir().unwrap();
    let label = format!("layer {}", dir.path().join("package").display());
    let named = |name: &str| {
        let bytes = zip(|zip| zip.start_file(name, stored()).unwrap());
        error(&package(dir.path(), "zip", &bytes))
    };
    assert_eq!(named("../../x"), format!("{label}, entry ../../x: its path contains '..'"));
    assert!(named(&"n".repeat(300)).contains("a name of more than 255 bytes"));
    let absolute = zip(|zip| zip.start_file("/etc/x", stored()).unwrap());
    assert_eq!(read(&package(dir.path(), "zip", &absolute)).unwrap().paths(), ["etc/x"]);
    let link = zip(|zip| zip.add_symlink("l", "x".repeat(5000), stored()).unwrap());
    assert!(error(&package(dir.path(), "zip", &link)).contains("symbolic link's target has more than"));
}

#[test]
fn zip_bombs_stop_at_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = zip(|zip| {
        for name in ["a", "b", "c"] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(&[0; 400_000]).unwrap();
        }
    });
    let source = package(dir.path(), "zip", &bytes);
    let with = |limits| {
        let options = OpenOptions { limits, ..OpenOptions::default() };
        read_with(&source, &options).err().unwrap().to_string()
    };
    assert!(
        with(Limits { layer_bytes: 1_000_000, ..Limits::default() })
            .ends_with("it has more than 1000000 uncompressed bytes")
    );
    assert!(with(Limits { layer_entries: 2, ..Limits::default() }).ends_with("it has more than 2 entries"));
}

/// The offset of a member's central directory header.
fn central(bytes: &[u8], nth: usize) -> usize {
    let found = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"PK\x01\x02");
    found.map(|(at, _)| at).nth(nth).unwrap()
}

#[test]
fn a_directory_that_lies_about_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let found = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = two_files();
        change(&mut bytes);
        error(&package(dir.path(), "zip", &bytes))
    };
    let size = 24;
    let longer = found(&|bytes| {
        let at = central(bytes, 1);
        bytes[at + size..at + size + 4].copy_from_slice(&0x7000_0000u32.to_le_bytes());
    });
    assert!(longer.contains("entry b: the archive ends in the middle of it"), "{longer}");
    let shorter = found(&|bytes| {
        let at = central(bytes, 1);
        bytes[at + size] -= 1;
    });
    assert!(shorter.contains("entry b: it cannot be read: File is larger than its declared"), "{shorter}");
    let checksum = found(&|bytes| {
        let at = central(bytes, 0);
        bytes[at + 16] ^= 1;
    });
    assert!(checksum.contains("entry a: it cannot be read: Invalid checksum"), "{checksum}");
    let overlapping = found(&|bytes| {
        // The second member's header is where the first one's is.
        let at = central(bytes, 1);
        bytes[at + 42..at + 46].fill(0);
    });
    assert!(overlapping.contains("overlap"), "{overlapping}");
    let encrypted = found(&|bytes| {
        let at = central(bytes, 0);
        bytes[at + 8] |= 1;
    });
    assert!(encrypted.contains("entry a"), "{encrypted}");
    let no_zip = found(&|bytes| *bytes = b"no zip".repeat(100));
    assert!(no_zip.contains("not a sound zip package"), "{no_zip}");
}

#[test]
fn every_cut_of_a_zip_package_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = two_files();
    for len in (0..whole.len()).step_by(7) {
        error(&package(dir.path(), "zip", &whole[..len]));
    }
}

proptest! {
    #[test]
    fn mutated_packages_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let compressed = gzip(&TarBuilder::default().dir("d").file("d/x", &[1; 3000]).finish());
        for (transport, mut bytes) in [("zip", two_files()), ("tar", compressed)] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = read(&package(dir.path(), transport, &bytes));
        }
    }
}
