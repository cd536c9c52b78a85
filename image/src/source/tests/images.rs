use std::fs;
use std::path::Path;

use ft_core::Digest;
use serde_json::json;

use super::layout::{TestLayer, TestLayout};
use super::{error, open, read, read_with};
use crate::limits::Limits;
use crate::source::OpenOptions;
use crate::source::testing::{gzip, zstd};
use crate::tar::testing::{Fields, TarBuilder};

fn tar(name: &str) -> Vec<u8> {
    TarBuilder::default().dir("d").file(format!("d/{name}"), name.repeat(9000).as_bytes()).finish()
}

fn gzipped(tar: Vec<u8>) -> TestLayer {
    TestLayer {
        stored: gzip(&tar),
        plain: tar,
        media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
}

fn three_layers() -> [TestLayer; 3] {
    let (third, zstd_type) = (tar("c"), "application/vnd.oci.image.layer.v1.tar+zstd");
    [
        TestLayer::plain(tar("a")),
        gzipped(tar("b")),
        TestLayer { stored: zstd(&third), plain: third, media_type: zstd_type },
    ]
}

const PATHS: [&str; 6] = ["d", "d/a", "d", "d/b", "d", "d/c"];

#[test]
fn layers_in_every_compression() {
    let layers = three_layers();
    let layout = TestLayout::of(&layers);
    let collect = read(&layout.source()).unwrap();
    assert_eq!(collect.paths(), PATHS);
    assert_eq!(collect.at("d/c").1, "c".repeat(9000).as_bytes());
    let source = open(&layout.source()).unwrap();
    let info = &source.layers()[1];
    assert_eq!(info.label, layers[1].digest().to_string());
    assert_eq!(info.diff_id, Some(Digest::of(&layers[1].plain)));
    assert_eq!(info.stored_bytes, Some(layers[1].stored.len() as u64));
    assert_eq!(source.config().unwrap().diff_ids().len(), 3);
}

#[test]
fn a_layer_whose_type_is_wrong_about_its_compression() {
    let layer = TestLayer { media_type: "application/vnd.oci.image.layer.v1.tar", ..gzipped(tar("a")) };
    assert_eq!(read(&TestLayout::of(&[layer]).source()).unwrap().paths(), ["d", "d/a"]);
}

#[test]
fn the_platform_is_chosen_from_the_index() {
    let mut layout = TestLayout::new();
    for (name, architecture) in [("arm", "arm64"), ("amd", "amd64"), ("s", "s390x")] {
        let image = layout.image(&[TestLayer::plain(tar(name))], architecture);
        layout.list(image, None, Some(&format!("linux/{architecture}")));
    }
    assert_eq!(read(&layout.source()).unwrap().paths()[1], "d/amd");
    let windows = OpenOptions { platform: "windows/amd64".parse().unwrap(), ..OpenOptions::default() };
    let error = read_with(&layout.source(), &windows).err().unwrap().to_string();
    assert_eq!(
        error,
        "the image index has no image for windows/amd64; it has: linux/arm64, linux/amd64, linux/s390x"
    );
}

#[test]
fn an_index_within_the_index() {
    let mut layout = TestLayout::new();
    let mut image = layout.image(&[TestLayer::plain(tar("a"))], "amd64");
    image["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
        "digest": Digest::of(b"{}").to_string(), "platform": {"os": "unknown", "architecture": "unknown"}});
    let inner = json!({"schemaVersion": 2, "manifests": [attestation, image]});
    let inner = layout.json("application/vnd.oci.image.index.v1+json", &inner);
    layout.list(inner, Some("v1"), None);
    assert_eq!(read(&format!("{}:v1", layout.source())).unwrap().paths(), ["d", "d/a"]);
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let mut layout = TestLayout::new();
    let image = layout.image(&[TestLayer::plain(tar("a"))], "riscv64");
    layout.list(image, None, None);
    assert!(error(&layout.source()).ends_with("has no image for linux/amd64; it has: linux/riscv64"));
}

#[test]
fn tags_choose() {
    let mut layout = TestLayout::new();
    for tag in ["v1", "v2"] {
        let image = layout.image(&[TestLayer::plain(tar(tag))], "amd64");
        layout.list(image, Some(tag), None);
    }
    let source = layout.source();
    assert_eq!(read(&format!("{source}:v2")).unwrap().paths()[1], "d/v2");
    assert_eq!(error(&source), format!("{source} has no image without a name; it has: v1, v2"));
    let missing = format!("{source}:v3");
    assert_eq!(error(&missing), format!("{missing} has no image named \"v3\"; it has: v1, v2"));
}

/// Changes a stored layer behind the layout's back.
fn with_damaged_layer(damage: impl FnOnce(&mut Vec<u8>)) -> (String, String) {
    let layers = three_layers();
    let layout = TestLayout::of(&layers);
    let path = layout.blob_path(&layers[1].digest());
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(path, bytes).unwrap();
    (format!("layer {}", layers[1].digest()), error(&layout.source()))
}

#[test]
fn damaged_layers_are_named() {
    let (layer, flipped) = with_damaged_layer(|bytes| bytes[40] ^= 1);
    assert!(flipped.starts_with(&format!("{layer}: its bytes have the digest sha256:")), "{flipped}");
    let (layer, cut) = with_damaged_layer(|bytes| bytes.truncate(30));
    assert!(cut.starts_with(&format!("{layer}: it has 30 bytes, its manifest says")), "{cut}");
    let (layer, longer) = with_damaged_layer(|bytes| bytes.extend_from_slice(b"more"));
    assert!(longer.starts_with(&format!("{layer}: it has")), "{longer}");
    // The same length, and a sound gzip stream of something else.
    let (layer, other) = with_damaged_layer(|bytes| {
        let len = bytes.len();
        *bytes = gzip(&tar("x"));
        bytes.resize(len, 0);
    });
    assert!(other.starts_with(&format!("{layer}: its bytes have the digest")), "{other}");
}

#[test]
fn the_uncompressed_digest_is_verified_too() {
    let layer = TestLayer { plain: tar("other"), ..gzipped(tar("a")) };
    let label = layer.digest();
    let error = error(&TestLayout::of(&[layer]).source());
    assert!(error.starts_with(&format!("layer {label}: its uncompressed bytes have the digest")), "{error}");
}

#[test]
fn sound_digests_over_unsound_layers() {
    let no_tar = gzipped(b"GIF89a".repeat(1000));
    let label = no_tar.digest();
    let found = error(&TestLayout::of(&[no_tar]).source());
    assert!(found.starts_with(&format!("layer {label}: it is not a tar archive")), "{found}");

    let hostile = TarBuilder::default().file("fine", b"").file("../evil", b"").finish();
    let hostile = gzipped(hostile);
    let label = hostile.digest();
    let found = error(&TestLayout::of(&[hostile]).source());
    assert_eq!(found, format!("layer {label}, entry ../evil: its path contains '..'"));

    let damaged = gzip(&tar("a"));
    let cut = TestLayer { stored: damaged[..damaged.len() / 2].to_vec(), ..gzipped(tar("a")) };
    let label = cut.digest();
    let found = error(&TestLayout::of(&[cut]).source());
    assert!(
        found.starts_with(&format!("layer {label}, entry d/a: the compressed data is damaged")),
        "{found}"
    );
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    let bomb = TarBuilder::default().file("zeros", &zeros).finish();
    let limits = Limits { layer_bytes: 1 << 20, ..Limits::default() };
    let options = OpenOptions { platform: "linux/amd64".parse().unwrap(), limits, ..OpenOptions::default() };
    for stored in [gzip(&bomb), zstd(&bomb)] {
        let layer = TestLayer { stored, ..gzipped(bomb.clone()) };
        let label = layer.digest();
        let error = read_with(&TestLayout::of(&[layer]).source(), &options).err().unwrap().to_string();
        let problem = "it has more than 1048576 uncompressed bytes";
        assert_eq!(error, format!("layer {label}, entry zeros: {problem}"));
    }
}

#[test]
fn documents_that_lie() {
    let layer = [TestLayer::plain(tar("a"))];
    let with = |change: &dyn Fn(&TestLayout) -> serde_json::Value| {
        let mut layout = TestLayout::new();
        let image = change(&layout);
        layout.list(image, None, None);
        error(&layout.source())
    };
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let config = json!({"rootfs": {"diff_ids": []}});
    let too_few = with(&|layout| {
        let layer = layout.blob(layer[0].media_type, &layer[0].stored);
        layout.manifest(&config, &[layer])
    });
    assert!(too_few.contains("it has 0 diff_ids for 1 layers"), "{too_few}");
    let artifact = with(&|layout| {
        let config = layout.json("application/vnd.cncf.helm.config.v1+json", &config);
        layout.json(manifest_type, &json!({"schemaVersion": 2, "config": config, "layers": []}))
    });
    assert!(artifact.contains("it is not a container image"), "{artifact}");
    let strange = with(&|layout| {
        let layer = layout.blob("application/x-tar+encrypted", b"");
        layout.manifest(&config, &[layer])
    });
    assert!(strange.contains("of the unknown type application/x-tar+encrypted"), "{strange}");
    let old = with(&|layout| layout.json(manifest_type, &json!({"schemaVersion": 1, "fsLayers": []})));
    assert!(old.contains("not of schema version 2"), "{old}");
    let garbage = with(&|layout| layout.blob(manifest_type, b"not JSON"));
    assert!(garbage.contains("expected"), "{garbage}");
    let tampered = with(&|layout| {
        let image = layout.image(&layer, "amd64");
        let digest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
        fs::write(layout.blob_path(&digest), b"{}").unwrap();
        image
    });
    assert!(tampered.contains("its bytes have the digest"), "{tampered}");
    let endless = with(&|layout| {
        let blob = layout.blob(manifest_type, b"");
        let path = layout.blob_path(&Digest::of(b""));
        fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        blob
    });
    assert!(endless.contains("larger than 4194304 bytes"), "{endless}");
}

/// A folder's files as tar members, last name first.
fn archive_of(folder: &Path) -> Vec<u8> {
    let files = walkdir::WalkDir::new(folder).sort_by(|a, b| b.file_name().cmp(a.file_name()));
    let files = files.into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file());
    files
        .fold(TarBuilder::default(), |tar, file| {
            let name = file.path().strip_prefix(folder).unwrap().to_str().unwrap();
            tar.file(format!("./{name}"), &fs::read(file.path()).unwrap())
        })
        .finish()
}

#[test]
fn an_oci_archive_with_its_members_in_any_order() {
    let layout = TestLayout::of(&three_layers());
    let archive = archive_of(layout.path());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let source = format!("oci-archive:{}", path.display());
    for bytes in [archive.clone(), gzip(&archive), zstd(&archive)] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&source).unwrap().paths(), PATHS);
    }
    fs::write(&path, &archive[..archive.len() / 2]).unwrap();
    let cut = error(&source);
    assert!(cut.contains("it ends in the middle of its member blobs/sha256/"), "{cut}");
    fs::write(&path, b"no tar at all, however long it may be".repeat(100)).unwrap();
    assert!(error(&source).contains("it is not a tar archive"));
    fs::write(&path, TarBuilder::default().finish()).unwrap();
    assert!(error(&source).contains("it has no member index.json"));
}

/// What `docker save` writes: layers in folders of their own, equal ones as links.
fn docker_archive(manifest: &serde_json::Value) -> Vec<u8> {
    let (a, b) = (tar("a"), tar("b"));
    let diff_ids = [&a, &b, &a].map(|layer| Digest::of(layer).to_string());
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids},
        "config": {"Cmd": ["/d/a"]}});
    TarBuilder::default()
        .file("111/layer.tar", &a)
        .file("222/layer.tar", &b)
        .member(&Fields::new(b'2', "333/layer.tar").link("../111/layer.tar"), b"")
        .file("config.json", config.to_string().as_bytes())
        .file("manifest.json", manifest.to_string().as_bytes())
        .finish()
}

#[test]
fn docker_archives() {
    let layers = ["111/layer.tar", "222/layer.tar", "333/layer.tar"];
    let image = |tag: &str| json!({"Config": "config.json", "RepoTags": [tag], "Layers": layers});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let source = format!("docker-archive:{}", path.display());

    fs::write(&path, docker_archive(&json!([image("a/b:v1")]))).unwrap();
    let paths = ["d", "d/a", "d", "d/b", "d", "d/a"];
    assert_eq!(read(&source).unwrap().paths(), paths);
    assert_eq!(read(&format!("{source}:a/b:v1")).unwrap().paths(), paths);
    assert!(error(&format!("{source}:a/b:v2")).contains("named \"a/b:v2\"; it has: a/b:v1"));
    assert_eq!(open(&source).unwrap().layers()[2].stored_bytes, Some(tar("a").len() as u64));

    fs::write(&path, docker_archive(&json!([image("x:latest"), image("y:latest")]))).unwrap();
    assert_eq!(read(&format!("{source}:docker.io/library/y")).unwrap().paths(), paths);
    assert!(error(&source).contains("no image without a name; it has: x:latest, y:latest"));

    let missing = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["a", "b", "c"]}]);
    fs::write(&path, docker_archive(&missing)).unwrap();
    assert!(error(&source).contains("it has no member a"));
    let swapped = json!([{"Config": "config.json",
        "Layers": ["222/layer.tar", "222/layer.tar", "333/layer.tar"]}]);
    fs::write(&path, docker_archive(&swapped)).unwrap();
    assert!(error(&source).starts_with("layer 222/layer.tar: its uncompressed bytes have the digest"));
}

#[test]
fn links_in_an_archive_that_go_in_circles_or_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    for target in ["manifest.json", "../manifest.json", "/etc/passwd", "../../etc/passwd"] {
        let link = Fields::new(b'2', "manifest.json").link(target);
        fs::write(&path, TarBuilder::default().member(&link, b"").finish()).unwrap();
        let found = error(&format!("docker-archive:{}", path.display()));
        assert!(found.ends_with("it has no member manifest.json"), "{target}: {found}");
    }
}
