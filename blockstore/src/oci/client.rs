//! Reading from one repository of a registry.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ft_core::Digest;
use futures_util::future::BoxFuture;
use futures_util::stream::{Stream, StreamExt};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;

use super::auth::{Access, Authorizer};
use super::{Reference, RegistryError, credentials};
use crate::name::RefName;
use crate::transfer::{
    self, TransferLimits, body_within, check_range, http_client, is_loopback, range_header, resuming,
    retrying,
};
use crate::verify::verified;

/// The most bytes that a manifest or an index may have: 4 MiB, as registries have it.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Whether a registry is spoken to without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// On this machine's loopback addresses only.
    #[default]
    Loopback,
    /// Everywhere: the user asked for it.
    Always,
    /// Nowhere, loopback included.
    Never,
}

/// How registries are reached. The default is right for almost everyone.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// docker's configuration file with the credentials; `None`: `$DOCKER_CONFIG/config.json` or else
    /// `$HOME/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// Whether to do without TLS.
    pub plain_http: PlainHttp,
    /// CA certificates to trust besides the host's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Deadlines and retries.
    pub limits: TransferLimits,
}

/// Where a repository is and how to get there.
pub(super) struct Endpoint {
    pub(super) http: reqwest::Client,
    /// `host[:port]`, as docker's configuration calls it.
    pub(super) registry: String,
    pub(super) repository: String,
    /// `https://HOST/v2/REPOSITORY/`.
    pub(super) base: Url,
    pub(super) docker_config: PathBuf,
    pub(super) limits: TransferLimits,
}

/// A client of one repository. Cheap to clone; safe to use from many tasks.
#[derive(Clone)]
pub struct RegistryClient {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) auth: Arc<Authorizer>,
}

/// A manifest as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// Its exact bytes.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub digest: Digest,
    /// The `Content-Type`, without parameters.
    pub media_type: String,
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the credentials.
        f.debug_struct("RegistryClient").field("base", &self.endpoint.base.as_str()).finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// A client of the repository that `reference` is in. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Reference`] if the reference or the options make no sense.
    pub fn new(reference: &Reference, options: &RegistryOptions) -> Result<Self, RegistryError> {
        let wrong = |reason: String| RegistryError::Reference { reference: reference.whole(), reason };
        let registry = reference.resolve_registry().to_owned();
        let repository = reference.repository().to_owned();
        let https = Url::parse(&format!("https://{registry}/v2/{repository}/"));
        let mut base = https.map_err(|_| wrong(format!("{registry} is no host name")))?;
        let loopback = is_loopback(&base);
        let plain = match options.plain_http {
            PlainHttp::Loopback => loopback,
            PlainHttp::Always => true,
            PlainHttp::Never => false,
        };
        if plain && base.set_scheme("http").is_err() {
            return Err(wrong(format!("{registry} cannot be spoken to over HTTP")));
        }
        let tls = transfer::web_tls(&options.extra_roots).map_err(wrong)?;
        let http = http_client(tls, &options.limits, !plain, loopback).map_err(wrong)?;
        let docker_config = options.docker_config.clone().unwrap_or_else(credentials::default_config);
        let limits = options.limits.clone();
        let endpoint = Endpoint { http, registry, repository, base, docker_config, limits };
        Ok(Self { endpoint: Arc::new(endpoint), auth: Arc::default() })
    }

    /// The manifest under a tag or digest. `accept` lists the media types that the caller understands.
    ///
    /// # Errors
    /// [`RegistryError`]; a manifest asked for by digest is verified.
    pub async fn manifest(&self, reference: &str, accept: &[&str]) -> Result<RawManifest, RegistryError> {
        let what = self.name(&format!("manifest {reference}"));
        let call = self.call(Access::Pull, &what);
        let url = self.manifest_url(reference)?;
        let accept = accept.join(", ");
        let limits = &self.endpoint.limits;
        let (bytes, media_type, said) = retrying(&limits.retry, || async {
            let build = |http: &reqwest::Client| http.get(url.clone()).header(ACCEPT, &accept);
            let response = self.send(&call, build).await?;
            let response = self.expect(response, StatusCode::OK, &call).await?;
            let (media_type, said) = (media_type(response.headers()), content_digest(response.headers()));
            let bytes = body_within(response, MAX_MANIFEST_BYTES, limits).await;
            Ok((bytes.map_err(|cause| call.failed(cause))?, media_type, said))
        })
        .await?;
        let digest = Digest::of(&bytes);
        match reference.parse().ok().or(said) {
            Some(expected) if expected != digest => {
                Err(RegistryError::WrongDigest { what, expected, actual: digest })
            }
            _ => Ok(RawManifest { bytes, digest, media_type }),
        }
    }

    /// Where the manifest under a tag or digest is.
    pub(super) fn manifest_url(&self, reference: &str) -> Result<Url, RegistryError> {
        if reference.parse::<Digest>().is_err() && reference.parse::<RefName>().is_err() {
            let reason = "it is neither a tag nor a SHA-256 digest".to_owned();
            return Err(RegistryError::Reference { reference: reference.to_owned(), reason });
        }
        self.url(&format!("manifests/{reference}"), reference)
    }

    /// Bytes of a blob, or `None` if the repository does not have it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let what = self.name(&format!("blob {digest}"));
        let call = self.call(Access::Pull, &what);
        let url = self.url(&format!("blobs/{digest}"), &what)?;
        let response = self.send_retrying(&call, |http| http.head(url.clone())).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let response = self.expect(response, StatusCode::OK, &call).await?;
        // Not `content_length()`: that is the length of the body, which an answer to HEAD has not.
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse().ok());
        length.map(Some).ok_or_else(|| call.not_understood("it has no Content-Length"))
    }

    /// A blob of `size` bytes, as it arrives. A broken connection is resumed. The stream never yields more
    /// than `size` bytes, and ends with an error if they do not have the digest: so what was read may be
    /// used only once the stream has ended without one.
    pub fn blob_stream(
        &self,
        digest: &Digest,
        size: u64,
    ) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + Unpin + use<> {
        let what = self.name(&format!("blob {digest}"));
        let wrong = move |expected, actual| RegistryError::WrongDigest { what, expected, actual };
        verified(self.open_blob(digest, 0..size, true), *digest, wrong).boxed()
    }

    /// A part of a blob, as it arrives; its digest cannot be verified here. A registry that ignores the
    /// range is an error.
    pub fn blob_range(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + Unpin + use<> {
        self.open_blob(digest, range, false).boxed()
    }

    fn open_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
        whole: bool,
    ) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + use<> {
        let (client, digest, asked) = (self.clone(), *digest, range.clone());
        let limits = self.endpoint.limits.clone();
        let open = move |left: Range<u64>| -> BoxFuture<'static, _> {
            let client = client.clone();
            let whole = whole && left == asked;
            Box::pin(async move { client.get_blob(&digest, left, whole).await })
        };
        let what = self.name(&format!("blob {digest}"));
        let wrap = move |cause| RegistryError::Transfer { what: what.clone(), cause };
        resuming(range, limits, Box::new(open), wrap)
    }

    async fn get_blob(
        &self,
        digest: &Digest,
        range: Range<u64>,
        whole: bool,
    ) -> Result<Response, RegistryError> {
        let what = self.name(&format!("blob {digest}"));
        let call = self.call(Access::Pull, &what);
        let url = self.url(&format!("blobs/{digest}"), &what)?;
        let header = range_header(&range);
        let build = |http: &reqwest::Client| match whole {
            true => http.get(url.clone()),
            false => http.get(url.clone()).header(RANGE, &header),
        };
        let response = self.send(&call, build).await?;
        if !response.status().is_success() {
            return self.expect(response, StatusCode::OK, &call).await;
        }
        match check_range(&response, &range, whole) {
            Ok(()) => Ok(response),
            Err(cause) => Err(call.failed(cause)),
        }
    }

    /// `thing` with where it is.
    pub(super) fn name(&self, thing: &str) -> String {
        format!("{thing} of {}/{}", self.endpoint.registry, self.endpoint.repository)
    }

    /// A URL below the repository.
    pub(super) fn url(&self, path: &str, what: &str) -> Result<Url, RegistryError> {
        let reason = |_| RegistryError::Reference {
            reference: what.to_owned(),
            reason: format!("{path} makes no URL"),
        };
        self.endpoint.base.join(path).map_err(reason)
    }
}

/// The `Content-Type`, without parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The digest that the registry says its answer has.
pub(super) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
