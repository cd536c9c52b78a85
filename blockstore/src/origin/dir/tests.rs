use std::time::{Duration, SystemTime};

use ft_core::manifest::{BlockEntry, Manifest, Segment, SegmentKind};
use ft_core::{BlockId, Codec};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A small image; all its objects differ from those of other seeds.
async fn image(origin: &DirOrigin, seed: u8) -> ImageObjects {
    let pack = Bytes::from(vec![seed; 100]);
    let block = BlockEntry { id: BlockId::of(&pack), stored_len: 100, codec: Codec::Raw };
    let segment =
        Segment { kind: SegmentKind::Metadata, raw_len: 100, pack: Digest::of(&pack), blocks: vec![block] };
    let manifest = Manifest { config: vec![seed], segments: vec![segment] };
    let encoded = Bytes::from(manifest.encode());
    for bytes in [Bytes::from(manifest.config.clone()), encoded.clone(), pack] {
        origin.put(&Digest::of(&bytes), BlobSource::Bytes(bytes)).await.unwrap();
    }
    ImageObjects::new(&manifest, &encoded)
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn make_older(origin: &DirOrigin, object: &Digest, by: Duration) {
    let file = std::fs::File::open(origin.object_path(object)).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

fn all_objects(origin: &DirOrigin) -> Vec<Digest> {
    let files = std::fs::read_dir(origin.layout.blobs()).unwrap();
    let hex = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    hex.map(|hex| format!("sha256:{hex}").parse().unwrap()).collect()
}

fn digests(objects: &[Object]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = objects.iter().map(|object| object.digest).collect();
    digests.sort();
    digests
}

#[tokio::test]
async fn garbage_is_what_no_name_and_no_kept_root_leads_to_and_what_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let named = image(&origin, 1).await;
    let running = image(&origin, 2).await;
    let forgotten = image(&origin, 3).await;
    let young = image(&origin, 4).await;
    origin.publish(&name("py"), &named).await.unwrap();
    let objects = all_objects(&origin);
    objects.iter().for_each(|object| make_older(&origin, object, DAY));
    for object in young.iter() {
        assert!(origin.keep(&object.digest, object.size).await.unwrap());
    }

    // Of the running image, only the manifest is known: its pack is kept for it, its configuration is in it.
    let keep = [running.manifest.digest];
    let mut expected: Vec<Object> = forgotten.iter().copied().collect();
    expected.push(running.config);
    assert_eq!(digests(&origin.unreferenced(&keep, DAY / 2).await.unwrap()), digests(&expected));
    let removed = origin.collect_garbage(&keep, DAY / 2).await.unwrap();
    assert_eq!(digests(&removed), digests(&expected));
    assert_eq!(all_objects(&origin).len(), objects.len() - 4);
    assert_eq!(origin.resolve(&name("py")).await, Ok(Some(named)));
    assert_eq!(origin.collect_garbage(&keep, DAY / 2).await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_image_without_its_name_is_garbage_and_half_written_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let objects = image(&origin, 1).await;
    origin.publish(&name("py"), &objects).await.unwrap();
    let half = origin.layout.temporary().join("half");
    std::fs::write(&half, "x").unwrap();
    std::fs::File::open(&half).unwrap().set_modified(SystemTime::now() - DAY).unwrap();
    let fresh = origin.layout.temporary().join("fresh");
    std::fs::write(&fresh, "x").unwrap();
    for object in all_objects(&origin) {
        make_older(&origin, &object, DAY);
    }
    assert_eq!(origin.collect_garbage(&[], DAY / 2).await, Ok(Vec::new()));
    assert!(!half.exists() && fresh.exists());
    assert_eq!(origin.unpublish(&name("py")).await, Ok(true));
    assert_eq!(origin.unpublish(&name("py")).await, Ok(false));
    assert_eq!(origin.collect_garbage(&[], DAY / 2).await.unwrap().len(), 4);
    assert!(all_objects(&origin).is_empty());
}

#[tokio::test]
async fn what_other_tools_wrote_into_the_index_stays() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let foreign = format!(
        r#"{{"schemaVersion":2,"x":1,"manifests":[{{"digest":"{}","size":3,"y":[2]}}]}}"#,
        Digest::of(b"foreign")
    );
    std::fs::write(dir.path().join("index.json"), &foreign).unwrap();
    let objects = image(&origin, 1).await;
    origin.publish(&name("py"), &objects).await.unwrap();
    assert_eq!(origin.unpublish(&name("py")).await, Ok(true));
    let index: serde_json::Value = serde_json::from_slice(&origin.index_bytes().await.unwrap()).unwrap();
    assert_eq!(index, serde_json::from_str::<serde_json::Value>(&foreign).unwrap());

    std::fs::write(dir.path().join("index.json"), "{").unwrap();
    let error = origin.resolve(&name("py")).await.unwrap_err().to_string();
    assert!(error.contains("index.json"), "{error}");
}

#[tokio::test]
async fn a_corrupt_object_is_named_when_it_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let objects = image(&origin, 1).await;
    let object = objects.manifest.digest;
    std::fs::write(origin.object_path(&object), vec![0; 100]).unwrap();
    let error = crate::read_object(&origin, &object, 1000).await.unwrap_err();
    assert!(matches!(error, OriginError::WrongDigest { object: named, .. } if named == object), "{error}");
}

#[tokio::test]
async fn nothing_is_collected_while_a_manifest_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let objects = image(&origin, 1).await;
    let manifest = origin.object_path(&objects.manifest.digest);
    let mut bytes = std::fs::read(&manifest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    let pack = objects.packs[0].digest;
    make_older(&origin, &pack, DAY);
    let error = origin.collect_garbage(&[objects.manifest.digest], DAY / 2).await.unwrap_err().to_string();
    assert!(error.contains(&objects.manifest.digest.to_string()), "{error}");
    assert!(origin.object_path(&pack).exists());
}

#[tokio::test]
async fn a_changing_origin_never_shows_half_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let origin = DirOrigin::open(dir.path()).unwrap();
    let objects = image(&origin, 1).await;
    origin.publish(&name("py"), &objects).await.unwrap();
    let writers = (0..4u8).map(|writer| {
        // Handles of their own, as other processes would have.
        let origin = DirOrigin::open(dir.path()).unwrap();
        let objects = objects.clone();
        tokio::spawn(async move {
            for round in 0..5u8 {
                let name = name(&format!("w{writer}-{round}"));
                origin.publish(&name, &objects).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        assert_eq!(origin.resolve(&name("py")).await, Ok(Some(objects.clone())));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for writer in 0..4u8 {
        for round in 0..5u8 {
            let name = name(&format!("w{writer}-{round}"));
            assert_eq!(origin.resolve(&name).await, Ok(Some(objects.clone())), "{name} is lost");
        }
    }
}
