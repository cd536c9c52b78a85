//! The one client of OCI registries (the [distribution specification]), used for function images and for the
//! container images that they are made from.
//!
//! It is built on reqwest directly. The `oci-client` crate was tried first: it sends docker's identity tokens
//! nowhere, reads manifests and error pages without a bound, asks `/v2/` before every request to a registry
//! that needs no login, and cannot be given a TLS configuration.
//!
//! [distribution specification]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

mod auth;
mod call;
mod challenge;
mod client;
mod credentials;
mod error;
mod push;
#[cfg(test)]
mod tests;

pub use client::{MAX_MANIFEST_BYTES, PlainHttp, RawManifest, RegistryClient, RegistryOptions};
pub use error::RegistryError;
/// A reference to an image: `registry/repository:tag` or `…@sha256:…`, with Docker Hub's short forms.
pub use oci_spec::distribution::Reference;
