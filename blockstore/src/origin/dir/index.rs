//! `index.json`: the names of the images in a layout.

use serde_json::{Map, Value, json};

use crate::name::RefName;
use crate::origin::{ARTIFACT_TYPE, OCI_MANIFEST_TYPE, Object};

/// Where an OCI layout keeps an image's name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// An OCI image index. What other tools wrote into it is kept as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index(Map<String, Value>);

impl Default for Index {
    fn default() -> Self {
        let mut fields = Map::new();
        fields.insert("schemaVersion".to_owned(), json!(2));
        fields.insert("mediaType".to_owned(), json!("application/vnd.oci.image.index.v1+json"));
        fields.insert("manifests".to_owned(), json!([]));
        Self(fields)
    }
}

impl Index {
    /// Reads an index; says what is wrong if it is none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match fields.get("manifests") {
            Some(Value::Array(_)) => Ok(Self(fields)),
            _ => Err("it has no list of manifests".to_owned()),
        }
    }

    /// The index as JSON; the same bytes for the same content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = Value::Object(self.0.clone()).to_string();
        text.push('\n');
        text.into_bytes()
    }

    /// The manifest with this name.
    pub(crate) fn get(&self, name: &RefName) -> Option<ft_core::Digest> {
        let entry = self.entries().find(|entry| name_of(entry) == Some(name.as_str()))?;
        digest_of(entry)
    }

    /// The digests of all manifests, those without a name included.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = ft_core::Digest> {
        self.entries().filter_map(digest_of)
    }

    /// The named function images. Other artifacts are their owners' business.
    pub(crate) fn function_images(&self) -> impl Iterator<Item = (RefName, ft_core::Digest)> {
        let ours = self.entries().filter(|entry| entry.get("artifactType") == Some(&json!(ARTIFACT_TYPE)));
        ours.filter_map(|entry| Some((name_of(entry)?.parse().ok()?, digest_of(entry)?)))
    }

    /// Gives a manifest the name, which no other has afterwards.
    pub(crate) fn set(&mut self, name: &RefName, artifact: &Object) {
        self.remove(name);
        self.entries_mut().push(json!({
            "mediaType": OCI_MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "digest": artifact.digest.to_string(),
            "size": artifact.size,
            "annotations": { NAME: name.as_str() },
        }));
        self.entries_mut().sort_by_cached_key(|entry| name_of(entry).map(str::to_owned));
    }

    /// Takes the name away; whether any manifest had it.
    pub(crate) fn remove(&mut self, name: &RefName) -> bool {
        let entries = self.entries_mut();
        let before = entries.len();
        entries.retain(|entry| name_of(entry) != Some(name.as_str()));
        entries.len() != before
    }

    fn entries(&self) -> impl Iterator<Item = &Value> {
        self.0.get("manifests").and_then(Value::as_array).into_iter().flatten()
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        let manifests = self.0.entry("manifests").or_insert_with(|| json!([]));
        if !manifests.is_array() {
            *manifests = json!([]);
        }
        match manifests {
            Value::Array(entries) => entries,
            _ => unreachable!("it was just made one"),
        }
    }
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(NAME)?.as_str()
}

fn digest_of(entry: &Value) -> Option<ft_core::Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}
