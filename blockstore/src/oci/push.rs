//! Writing to a repository.

use bytes::Bytes;
use ft_core::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, RequestBuilder, Response, StatusCode, Url};

use super::auth::Access;
use super::call::Call;
use super::client::content_digest;
use super::{RegistryClient, RegistryError};
use crate::source::BlobSource;
use crate::transfer::{Backoff, send};

impl RegistryClient {
    /// Stores a blob, unless the repository has it already, and says whether it did. Transient errors are met by
    /// sending it again.
    ///
    /// # Errors
    /// [`RegistryError`]; the registry itself verifies the digest.
    pub async fn push_blob(&self, digest: &Digest, source: &BlobSource) -> Result<bool, RegistryError> {
        if self.blob_size(digest).await?.is_some() {
            return Ok(false);
        }
        let what = self.name(&format!("blob {digest}"));
        let unreadable =
            |error: std::io::Error| RegistryError::Source { what: what.clone(), reason: error.to_string() };
        let len = source.size().map_err(unreadable)?;
        let mut backoff = Backoff::new(self.endpoint.limits.retry.clone());
        loop {
            match self.upload(digest, source, len, &what).await {
                Ok(()) => return Ok(true),
                Err(error) => backoff.wait_after(error).await?,
            }
        }
    }

    /// A blob in two requests: POST opens an upload, PUT sends everything and closes it.
    async fn upload(
        &self,
        digest: &Digest,
        source: &BlobSource,
        len: u64,
        what: &str,
    ) -> Result<(), RegistryError> {
        let open = self.call(Access::Push, what);
        let url = self.url("blobs/uploads/", what)?;
        let response = self.send(&open, |http| http.post(url.clone()).header(CONTENT_LENGTH, 0)).await?;
        let response = self.expect(response, StatusCode::ACCEPTED, &open).await?;
        let mut location = self.location(&response, &open)?;
        location.query_pairs_mut().append_pair("digest", &digest.to_string());

        let deadline = open.deadline + self.endpoint.limits.time_for(len);
        let put = Call { deadline, ..open };
        let build = |http: &reqwest::Client| -> RequestBuilder {
            let request = http.put(location.clone()).header(CONTENT_LENGTH, len);
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            request.body(Body::wrap_stream(source.chunks()))
        };
        let response = if location.origin() == self.endpoint.base.origin() {
            self.send(&put, build).await?
        } else {
            // Another host, as with signed URLs of cloud storage: our credentials are not for it.
            send(build(&self.endpoint.http), deadline).await.map_err(|cause| put.failed(cause))?
        };
        self.expect(response, StatusCode::CREATED, &put).await.map(drop)
    }

    /// Where an upload goes on.
    fn location(&self, response: &Response, call: &Call<'_>) -> Result<Url, RegistryError> {
        let text = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let url = text.and_then(|text| self.endpoint.base.join(text).ok());
        url.ok_or_else(|| call.not_understood("it opens an upload without a Location"))
    }

    /// Stores a manifest, byte by byte as given, under a tag or its digest, and returns its digest.
    ///
    /// # Errors
    /// [`RegistryError`]; what the manifest lists has to be there already.
    pub async fn push_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let what = self.name(&format!("manifest {reference}"));
        let call = self.call(Access::Push, &what);
        let url = self.manifest_url(reference)?;
        let build = |http: &reqwest::Client| {
            http.put(url.clone()).header(CONTENT_TYPE, media_type).body(bytes.clone())
        };
        let response = self.send_retrying(&call, build).await?;
        let response = self.expect(response, StatusCode::CREATED, &call).await?;
        let digest = Digest::of(&bytes);
        match content_digest(response.headers()) {
            Some(actual) if actual != digest => {
                Err(RegistryError::WrongDigest { what, expected: digest, actual })
            }
            _ => Ok(digest),
        }
    }
}
