//! Materialising without root's rights. That root gets everything is compared with a kernel mount in
//! `erofs_kernel.rs`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ft_image::erofs::Reader;
use ft_image::materialize::{MaterializeError, MaterializeOptions, materialize};

use crate::synthetic::{build, devices, layers, noise};

#[test]
fn owners_devices_and_set_id_bits_are_left_out_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let (meta, data) = devices(&build(dir.path(), &layers(), 2));
    let reader = Reader::open(&meta[..], &data[..]).unwrap();
    let out = dir.path().join("out");
    let done = materialize(&reader, &out, &MaterializeOptions::UNPRIVILEGED).unwrap();
    assert_eq!(done.devices_left_out, 2);
    assert!(!out.join("dev/null").exists());
    let ping = fs::metadata(out.join("bin/ping")).unwrap();
    assert_eq!((ping.permissions().mode() & 0o7777, ping.nlink()), (0o755, 2));
    assert_eq!(ping.uid(), rustix::process::geteuid().as_raw());
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_700_000_000, 123_456_789));
    assert!(fs::read(out.join("link-to-lower")).unwrap() == noise(7, 3_000_000));
    assert_eq!(fs::metadata(out.join("bin")).unwrap().mtime_nsec(), 123_456_789);
    let hole = fs::metadata(out.join("all-hole")).unwrap();
    assert_eq!((hole.len(), hole.blocks()), (1 << 34, 0));
}

#[test]
fn a_destination_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (meta, data) = devices(&build(dir.path(), &layers()[..1], 2));
    let reader = Reader::open(&meta[..], &data[..]).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), b"precious").unwrap();
    let error = materialize(&reader, &out, &MaterializeOptions::UNPRIVILEGED).unwrap_err();
    assert!(matches!(error, MaterializeError::Destination { .. }), "{error}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}
