//! Makes OCI image layouts, right and wrong ones.

use std::fs;
use std::path::Path;

use ft_core::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An image layout in a temporary folder.
pub(super) struct TestLayout {
    dir: TempDir,
    manifests: Vec<Value>,
}

/// One layer: its stored bytes, and what its uncompressed bytes are.
pub(super) struct TestLayer {
    pub(super) stored: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) media_type: &'static str,
}

impl TestLayer {
    pub(super) fn plain(tar: Vec<u8>) -> Self {
        Self { stored: tar.clone(), plain: tar, media_type: "application/vnd.oci.image.layer.v1.tar" }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.stored)
    }
}

impl TestLayout {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { dir, manifests: Vec::new() }
    }

    /// A layout with the one image that these layers make.
    pub(super) fn of(layers: &[TestLayer]) -> Self {
        let mut layout = Self::new();
        let image = layout.image(layers, "amd64");
        layout.list(image, None, None);
        layout
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `oci:…` for this layout.
    pub(super) fn source(&self) -> String {
        format!("oci:{}", self.path().display())
    }

    /// Where a blob is.
    pub(super) fn blob_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.path().join("blobs/sha256").join(digest.hex().to_string())
    }

    /// Stores a blob; its descriptor.
    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub(super) fn json(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// Stores an image; its descriptor.
    pub(super) fn image(&self, layers: &[TestLayer], architecture: &str) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(&layer.plain).to_string()).collect();
        let config = json!({"os": "linux", "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob(layer.media_type, &layer.stored)).collect();
        self.manifest(&config, &layers)
    }

    pub(super) fn manifest(&self, config: &Value, layers: &[Value]) -> Value {
        let config = self.json("application/vnd.oci.image.config.v1+json", config);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.json("application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    /// Lists an image in `index.json`.
    pub(super) fn list(&mut self, mut image: Value, tag: Option<&str>, platform: Option<&str>) {
        if let Some(tag) = tag {
            image["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        if let Some((os, architecture)) = platform.and_then(|text| text.split_once('/')) {
            image["platform"] = json!({"os": os, "architecture": architecture});
        }
        self.manifests.push(image);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }
}
