//! An origin behind an HTTP server: our own ([`crate::server`]), or any that serves an OCI image layout as files
//! and honours byte ranges. `docs/formats.md` has the paths.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ft_core::Digest;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use reqwest::{Body, RequestBuilder, Response, StatusCode, Url};

use super::artifact::MAX_ARTIFACT_BYTES;
use super::dir::Index;
use super::{ByteStream, ImageObjects, OCI_MANIFEST_TYPE, Origin, OriginError};
use crate::name::RefName;
use crate::source::BlobSource;
use crate::transfer::{
    self, TransferError, TransferLimits, body_within, check_range, http_client, is_loopback, range_header,
    resuming, retrying, status_error,
};

/// The most bytes of an `index.json`: about 200,000 names.
const MAX_INDEX_BYTES: usize = 64 << 20;

/// An origin behind an HTTP server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpOrigin {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    http: reqwest::Client,
    /// Ends with a slash.
    base: Url,
    name: String,
    limits: TransferLimits,
}

impl HttpOrigin {
    /// The origin at `url`, which is `https:` or `http:` with an optional path. Nothing is sent yet.
    ///
    /// # Errors
    /// [`OriginError::Spec`] if the URL makes no sense.
    pub fn new(url: &str, tls: rustls::ClientConfig, limits: TransferLimits) -> Result<Self, OriginError> {
        let wrong = |reason: String| OriginError::Spec { spec: url.to_owned(), reason };
        let name = url.trim_end_matches('/').to_owned();
        let base = Url::parse(&format!("{name}/")).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("a server is written https://HOST:PORT, with an optional path".to_owned()));
        }
        let direct = is_loopback(&base);
        let http = http_client(tls, &limits, base.scheme() == "https", direct).map_err(wrong)?;
        Ok(Self { place: Arc::new(Place { http, base, name, limits }) })
    }

    fn read_error(&self, object: Digest, range: &Range<u64>, cause: TransferError) -> OriginError {
        let Range { start, end } = *range;
        OriginError::Read { origin: self.place.name.clone(), object, start, end, cause }
    }

    /// One request for a range, its head checked.
    async fn open_range(&self, object: Digest, range: Range<u64>) -> Result<Response, OriginError> {
        let request = self.place.http.get(self.place.blob(&object)?).header(RANGE, range_header(&range));
        let sent = transfer::send(request, self.place.deadline()).await;
        let response = sent.map_err(|cause| self.read_error(object, &range, cause))?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(OriginError::NoObject { origin: self.place.name.clone(), object }),
            status if status.is_success() => match check_range(&response, &range, false) {
                Ok(()) => Ok(response),
                Err(cause) => Err(self.read_error(object, &range, cause)),
            },
            _ => {
                let cause = status_error(response, &self.place.limits).await;
                Err(self.read_error(object, &range, cause))
            }
        }
    }

    /// The body at a path, or `None` if there is nothing.
    async fn get(&self, path: &str, limit: usize) -> Result<Option<Bytes>, OriginError> {
        let place = &self.place;
        let action = format!("get {path}");
        let url = place.url(path)?;
        retrying(&place.limits.retry, || async {
            let failed = |cause| place.failed(&action, cause);
            let sent = transfer::send(place.http.get(url.clone()), place.deadline()).await;
            let response = sent.map_err(failed)?;
            match response.status() {
                StatusCode::OK => body_within(response, limit, &place.limits).await.map(Some).map_err(failed),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(failed(status_error(response, &place.limits).await)),
            }
        })
        .await
    }

    /// Sends a body of `len` bytes to a path.
    async fn send_body(
        &self,
        path: &str,
        len: u64,
        build: impl Fn(RequestBuilder) -> RequestBuilder + Send + Sync,
    ) -> Result<(), OriginError> {
        let place = &self.place;
        let action = format!("put {path}");
        let url = place.url(path)?;
        let deadline = place.deadline() + place.limits.time_for(len);
        retrying(&place.limits.retry, || async {
            let request = build(place.http.put(url.clone()).header(CONTENT_LENGTH, len));
            let sent = transfer::send(request, deadline).await;
            let response = sent.map_err(|cause| place.failed(&action, cause))?;
            match response.status() {
                status if status.is_success() => Ok(()),
                _ => Err(place.failed(&action, status_error(response, &place.limits).await)),
            }
        })
        .await
    }
}

#[async_trait]
impl Origin for HttpOrigin {
    fn describe(&self) -> &str {
        &self.place.name
    }

    async fn size(&self, object: &Digest) -> Result<Option<u64>, OriginError> {
        self.look_for(object, self.place.deadline()).await
    }

    fn stream(&self, object: &Digest, range: Range<u64>) -> ByteStream {
        let (origin, object, asked) = (self.clone(), *object, range.clone());
        let limits = self.place.limits.clone();
        let opener = self.clone();
        let open = move |left: Range<u64>| -> BoxFuture<'static, Result<Response, OriginError>> {
            let origin = opener.clone();
            Box::pin(async move { origin.open_range(object, left).await })
        };
        let wrap = move |cause| origin.read_error(object, &asked, cause);
        resuming(range, limits, Box::new(open), wrap).boxed()
    }

    async fn put(&self, object: &Digest, source: BlobSource) -> Result<bool, OriginError> {
        let interrupted =
            |error: std::io::Error| OriginError::NotStored { object: *object, reason: error.to_string() };
        let len = source.size().map_err(interrupted)?;
        // The server reads the whole object before it answers.
        let deadline = self.place.deadline() + self.place.limits.time_for(len);
        if self.look_for(object, deadline).await? == Some(len) {
            return Ok(false);
        }
        let body = |request: RequestBuilder| request.body(Body::wrap_stream(source.chunks()));
        self.send_body(&format!("blobs/sha256/{}", object.hex()), len, body).await?;
        Ok(true)
    }

    async fn publish(&self, name: &RefName, image: &ImageObjects) -> Result<(), OriginError> {
        let document = image.encode();
        let len = document.len() as u64;
        let body =
            |request: RequestBuilder| request.header(CONTENT_TYPE, OCI_MANIFEST_TYPE).body(document.clone());
        self.send_body(&format!("refs/{name}"), len, body).await
    }

    async fn resolve(&self, name: &RefName) -> Result<Option<ImageObjects>, OriginError> {
        let document = match self.get(&format!("refs/{name}"), MAX_ARTIFACT_BYTES).await? {
            Some(document) => Some(document),
            // A server of plain files has no such path: the index of the layout has the name.
            None => self.resolve_by_index(name).await?,
        };
        let not_an_image = |reason| self.not_an_image(name, reason);
        document.map(|document| ImageObjects::decode(&document).map_err(not_an_image)).transpose()
    }
}

impl HttpOrigin {
    /// Bytes of an object, or `None` if it is not there.
    async fn look_for(&self, object: &Digest, deadline: Duration) -> Result<Option<u64>, OriginError> {
        let place = &self.place;
        let url = place.blob(object)?;
        let action = format!("look for {object}");
        retrying(&place.limits.retry, || async {
            let failed = |cause| place.failed(&action, cause);
            let sent = transfer::send(place.http.head(url.clone()), deadline).await;
            let response = sent.map_err(failed)?;
            let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            match (response.status(), length.and_then(|text| text.parse().ok())) {
                (StatusCode::OK, Some(length)) => Ok(Some(length)),
                (StatusCode::NOT_FOUND, _) => Ok(None),
                (StatusCode::OK, None) => {
                    Err(failed(TransferError::Status { status: 200, said: "no Content-Length".to_owned() }))
                }
                _ => Err(failed(status_error(response, &place.limits).await)),
            }
        })
        .await
    }

    async fn resolve_by_index(&self, name: &RefName) -> Result<Option<Bytes>, OriginError> {
        let Some(index) = self.get("index.json", MAX_INDEX_BYTES).await? else { return Ok(None) };
        let index = Index::decode(&index).map_err(|reason| self.not_an_image(name, reason))?;
        match index.get(name) {
            Some(digest) => super::read_object(self, &digest, MAX_ARTIFACT_BYTES as u64).await.map(Some),
            None => Ok(None),
        }
    }

    fn not_an_image(&self, name: &RefName, reason: String) -> OriginError {
        OriginError::NotAnImage { origin: self.place.name.clone(), name: name.to_string(), reason }
    }
}

impl Place {
    fn url(&self, path: &str) -> Result<Url, OriginError> {
        let reason =
            |error| OriginError::Spec { spec: self.name.clone(), reason: format!("{path}: {error}") };
        self.base.join(path).map_err(reason)
    }

    fn blob(&self, object: &Digest) -> Result<Url, OriginError> {
        self.url(&format!("blobs/sha256/{}", object.hex()))
    }

    fn deadline(&self) -> Duration {
        self.limits.connect + self.limits.idle
    }

    fn failed(&self, action: &str, cause: TransferError) -> OriginError {
        OriginError::Request { origin: self.name.clone(), action: action.to_owned(), cause }
    }
}
