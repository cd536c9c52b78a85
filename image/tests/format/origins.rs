//! Publishing to an origin and verifying what is there.

use std::fs;
use std::os::unix::fs::FileExt;

use ft_blockstore::{DirOrigin, ImageObjects, Origin, RefName};
use ft_core::BlockIndex;
use ft_image::builder::Converted;
use ft_image::publish;
use ft_image::verify::{VerifyError, verify};

use crate::synthetic::{NAMES, build, layers};

struct Published {
    image: Converted,
    origin: DirOrigin,
    objects: ImageObjects,
    /// Removed with all of the above.
    _dir: tempfile::TempDir,
}

async fn published() -> Published {
    let dir = tempfile::tempdir().unwrap();
    let image = build(dir.path(), &layers(), 2);
    let origin = DirOrigin::open(&dir.path().join("origin")).unwrap();
    let name: RefName = "py".parse().unwrap();
    publish(&image, &origin, &name, &()).await.unwrap();
    let objects = origin.resolve(&name).await.unwrap().unwrap();
    Published { image, origin, objects, _dir: dir }
}

#[tokio::test]
async fn what_is_published_is_right() {
    let Published { image, origin, objects, _dir } = published().await;
    assert_eq!(objects.manifest.digest, image.digest);
    let verified = verify(&origin, &objects, &()).await.unwrap();
    assert_eq!(verified.image_bytes, image.stats.image_bytes);
    assert_eq!(verified.stored_bytes, image.stats.stored_bytes);
    assert_eq!(verified.names, NAMES as u64);
}

#[tokio::test]
async fn publishing_again_sends_nothing() {
    let Published { image, origin, _dir, .. } = published().await;
    let again = publish(&image, &origin, &"py2".parse().unwrap(), &()).await.unwrap();
    assert_eq!(again.stored_bytes, 0);
    assert!(again.reused_bytes > image.stats.stored_bytes);
}

#[tokio::test]
async fn a_changed_byte_is_reported_with_its_block() {
    let Published { image, origin, objects, _dir } = published().await;
    let segment = &image.manifest.segments[1];
    let start: u64 = segment.blocks[..3].iter().map(|block| u64::from(block.stored_len)).sum();
    let pack = fs::OpenOptions::new().write(true).open(origin.object_path(&segment.pack)).unwrap();
    pack.write_all_at(b"!", start + 5).unwrap();
    let error = verify(&origin, &objects, &()).await.unwrap_err();
    // One block of metadata comes first.
    assert!(matches!(error, VerifyError::Block { index: BlockIndex(4), .. }), "{error}");
    assert!(error.to_string().starts_with("block 4 (bytes "), "{error}");
}

#[tokio::test]
async fn a_pack_that_was_cut_off_is_reported() {
    let Published { image, origin, objects, _dir } = published().await;
    let path = origin.object_path(&image.manifest.segments[2].pack);
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
    assert!(matches!(
        verify(&origin, &objects, &()).await,
        Err(VerifyError::Origin(_) | VerifyError::Block { .. })
    ));
}

#[tokio::test]
async fn another_manifest_is_reported() {
    let Published { origin, objects, _dir, .. } = published().await;
    let path = origin.object_path(&objects.manifest.digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(verify(&origin, &objects, &()).await, Err(VerifyError::Origin(_))));
}
