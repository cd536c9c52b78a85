//! The records of the state file.

use ft_core::profile::Start;
use ft_core::{Digest, VmId};
use serde::{Deserialize, Serialize};

/// A VM that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VmRecord {
    /// A label for people.
    pub(crate) name: String,
    /// SHA-256 of the public key that its certificate is for: who has the key may join again as this VM.
    pub(crate) public_key_sha256: [u8; 32],
    /// Nothing is placed on it any more.
    #[serde(default)]
    pub(crate) draining: bool,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenUse {
    /// A worker may join with it.
    Join,
    /// Its bearer is this admin.
    Admin(String),
    /// Its bearer is this tenant.
    Tenant(String),
}

/// A token that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) purpose: TokenUse,
    /// Seconds since 1970; without, it does not expire.
    pub(crate) expires_unix: Option<u64>,
}

/// One version of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionRecord {
    #[serde(with = "text")]
    pub(crate) image: Digest,
    #[serde(with = "texts")]
    pub(crate) packs: Vec<Digest>,
    pub(crate) origin: String,
    pub(crate) source: String,
    pub(crate) image_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) blocks: u32,
    pub(crate) created_unix_us: i64,
}

/// Which version of which tenant's function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FunctionKey {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) version: u32,
}

impl std::fmt::Display for FunctionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// How an image is distributed. The numbers are the wire format's, so that they stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// `ft.v1.Mode`.
    pub(crate) mode: i32,
    /// `ft.v1.TreeShape`.
    pub(crate) shape: i32,
}

/// What a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    pub(crate) env: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) memory_bytes: u64,
    /// It may run on these VMs alone; empty: on any.
    #[serde(default)]
    pub(crate) vms: Vec<u64>,
}

/// A container that should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) function: FunctionKey,
    pub(crate) vm: u64,
    pub(crate) spec: ContainerSpec,
    pub(crate) distribution: Distribution,
    /// Of the Provision call that wanted it; empty: none.
    #[serde(default)]
    pub(crate) idempotency_key: String,
    /// Term and number of the container whose place it took.
    #[serde(default)]
    pub(crate) replaces: Option<(u64, u64)>,
    /// How often it was placed again.
    #[serde(default)]
    pub(crate) attempt: u32,
    /// Microseconds since 1970; 0: not known.
    #[serde(default)]
    pub(crate) placed_unix_us: i64,
}

impl ContainerRecord {
    pub(crate) fn vm(&self) -> VmId {
        VmId(self.vm)
    }
}

/// What one cold start of an image read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartRecord {
    pub(crate) vm: u64,
    /// Block indices in the order of reads.
    pub(crate) blocks: Vec<u32>,
}

impl From<&Start> for StartRecord {
    fn from(start: &Start) -> Self {
        Self { vm: start.vm.0, blocks: start.blocks.iter().map(|block| block.0).collect() }
    }
}

/// Digests in their text form.
mod text {
    use ft_core::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Lists of digests in their text form.
mod texts {
    use ft_core::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(digests.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}
