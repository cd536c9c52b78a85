//! The configuration of a container image.
//!
//! OCI image specification 1.1, `config.md`; `Healthcheck` is Docker's addition.

use std::collections::BTreeMap;

use ft_core::Digest;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::Check;
use crate::source::Platform;

/// The configuration of a container image, as far as it matters for functions.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    healthcheck: Option<Healthcheck>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Healthcheck {
    test: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    #[serde(deserialize_with = "digests")]
    diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// The digests of the layers' uncompressed bytes, from the lowest layer up.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    /// Which machine the image is for, if it says.
    pub fn platform(&self) -> Option<Platform> {
        let (os, architecture) = (self.os.clone(), self.architecture.clone());
        let variant = self.variant.clone().filter(|variant| !variant.is_empty());
        (!os.is_empty() && !architecture.is_empty()).then_some(Platform { os, architecture, variant })
    }

    /// Entry point and command.
    pub(super) fn args(&self) -> Vec<String> {
        let Some(config) = &self.config else { return Vec::new() };
        config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect()
    }

    pub(super) fn env(&self) -> &[String] {
        self.config.as_ref().and_then(|config| config.env.as_deref()).unwrap_or_default()
    }

    pub(super) fn cwd(&self) -> &str {
        self.config.as_ref().and_then(|config| config.working_dir.as_deref()).unwrap_or_default()
    }

    pub(super) fn user(&self) -> &str {
        self.config.as_ref().and_then(|config| config.user.as_deref()).unwrap_or_default()
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
    }

    /// Docker's health check.
    pub(super) fn check(&self) -> Option<Check> {
        let test = self.config.as_ref()?.healthcheck.as_ref()?.test.as_deref()?;
        let args = match test.split_first()? {
            (form, args) if form == "CMD" => args.to_vec(),
            (form, [line]) if form == "CMD-SHELL" => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            _ => return None,
        };
        (!args.is_empty()).then_some(Check::Exec { args })
    }
}

fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}
