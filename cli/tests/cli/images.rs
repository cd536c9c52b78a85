//! `ft image`: what a seeded image is and holds, and damage in the origin.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

/// Everything below `root`, by path: type and mode, owner, time, and content or target.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, [u32; 2], i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().expect("an entry");
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
        } else if metadata.is_file() {
            std::fs::read(&path).expect("a file")
        } else {
            todo.extend(
                std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
            Vec::new()
        };
        let name = path.strip_prefix(root).expect("below it").to_owned();
        let owner = [metadata.uid(), metadata.gid()];
        found.insert(name, (metadata.mode(), owner, metadata.mtime(), content));
    }
    found
}

#[test]
fn a_seeded_image_has_exactly_its_sources_files() {
    let cluster = Cluster::start(&[]);
    let root = cluster.seed("one");
    let shown = cluster.json(&["image", "inspect", "hello"]);
    let converted = cluster.json(&["image", "inspect", &format!("dir:{}", root.display())]);
    assert_eq!(shown["config"]["args"], serde_json::json!(["/bin/sleep", "1000"]));
    assert_eq!((&shown["image_bytes"], &shown["blocks"]), (&converted["image_bytes"], &converted["blocks"]));
    let text = cluster.run(&["image", "inspect", "hello"]).ok();
    assert!(text.stdout.contains(shown["image"].as_str().expect("a digest")), "{text:?}");

    let verified = cluster.json(&["image", "verify", "hello"]);
    assert_eq!(verified["blocks"], shown["blocks"]);
    // The root itself has no name.
    assert_eq!(verified["names"].as_u64(), Some(tree(&root).len() as u64 - 1), "{verified}");

    let dest = cluster.dir.path().join("files");
    cluster.run(&["image", "materialize", "hello", dest.to_str().expect("ours")]).ok();
    assert_eq!(tree(&dest), tree(&root));
    // A second time there is something in the way, which stays as it is.
    cluster.run(&["image", "materialize", "hello", dest.to_str().expect("ours")]).fails(1, "files");
    assert_eq!(tree(&dest), tree(&root));
}

#[test]
fn damage_in_the_origin_is_found_and_named() {
    let cluster = Cluster::start(&["sandbox"]);
    cluster.seed("one");
    let blobs = std::fs::read_dir(cluster.manager_dir().join("origin/blobs/sha256")).expect("the origin");
    let sizes = blobs.map(|blob| blob.map(|blob| (blob.metadata().expect("a blob").len(), blob.path())));
    let (len, pack) = sizes.map(|blob| blob.expect("a blob")).max().expect("a pack");
    damage(&pack, len / 2);

    let verified = cluster.run(&["-o", "json", "image", "verify", "hello"]).fails(6, "block");
    let error: serde_json::Value = serde_json::from_str(&verified.stderr).expect("an error in JSON");
    assert_eq!(error["exit_code"], 6);
    let dest = cluster.dir.path().join("files");
    cluster.run(&["image", "materialize", "hello", dest.to_str().expect("ours")]).fails(6, "block");
    assert!(!dest.exists());
    let full = cluster.run(&[
        "-o",
        "json",
        "provision",
        "hello",
        "--mode",
        "full",
        "--timeout",
        "10s",
        "--",
        "/bin/cat",
        "/data/noise",
        "/bin/busybox",
    ]);
    assert_eq!(full.code(), 1, "{full:?}");
    let failed = full.lines().pop().expect("an event");
    assert!(failed["cause"].as_str().is_some_and(|cause| cause.contains("block")), "{full:?}");
}

/// Changes one byte of a file.
fn damage(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("room");
}
