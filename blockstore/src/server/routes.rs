//! The paths of the origin server, and who may use them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use ft_core::Digest;
use ft_identity::{PeerInfo, Role};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::counters::{ServerCounters, count};
use super::range::Wanted;
use crate::name::RefName;
use crate::origin::{DirOrigin, ImageObjects, MAX_ARTIFACT_BYTES, OCI_MANIFEST_TYPE, Origin, OriginError};
use crate::transfer::TransferLimits;

/// How long a request waits for its turn before it is told to come back.
const TURN: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Debug)]
pub(super) struct App {
    pub(super) origin: DirOrigin,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) downloads: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) object_bytes: u64,
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/blobs/sha256/{hex}", get(get_object).put(put_object))
        .route("/refs/{name}", get(get_image).put(put_image))
        .route("/index.json", get(get_index))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admit))
        .with_state(app)
}

/// Lets VMs read, users and the manager also write, and nobody else in.
async fn admit(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<PeerInfo>,
    request: Request,
    next: Next,
) -> Response {
    count(&app.counters.requests, 1);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let role = peer.uri.as_ref().map(|uri| uri.role());
    let may = match role {
        Some(Role::Vm(_)) => reads,
        Some(Role::Manager | Role::Admin(_) | Role::Tenant(_)) => true,
        None => false,
    };
    if may {
        return next.run(request).await;
    }
    count(&app.counters.refused, 1);
    let who = peer.uri.map_or_else(|| "a client without a certificate".to_owned(), |uri| uri.to_string());
    tracing::warn!(%who, address = %peer.address, method = %request.method(), "request refused");
    (StatusCode::FORBIDDEN, format!("{who} may not {} here\n", request.method())).into_response()
}

/// The answer to a request that failed.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Self {
        let status = match &error {
            OriginError::NoObject { .. } => StatusCode::NOT_FOUND,
            OriginError::NotStored { .. } => StatusCode::BAD_REQUEST,
            OriginError::Locked { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::warn!(%error, "request failed");
        }
        Self(status, error.to_string())
    }
}

fn bad(reason: impl ToString) -> Failure {
    Failure(StatusCode::BAD_REQUEST, reason.to_string())
}

fn busy() -> Failure {
    Failure(StatusCode::SERVICE_UNAVAILABLE, "too many requests at the moment; try again".to_owned())
}

fn digest(hex: &str) -> Result<Digest, Failure> {
    format!("sha256:{hex}").parse().map_err(bad)
}

/// GET and HEAD of an object, or of a part of it.
async fn get_object(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<PeerInfo>,
    Path(hex): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let object = digest(&hex)?;
    let size = app.origin.size(&object).await?;
    let missing = || Failure(StatusCode::NOT_FOUND, format!("no object {object}"));
    let size = size.ok_or_else(missing)?;
    if method == Method::HEAD {
        let writes = !matches!(peer.uri.as_ref().map(|uri| uri.role()), Some(Role::Vm(_)));
        if writes {
            // Whoever may store it asks because it is going to be published: see `DirOrigin::keep`. That reads
            // the object, so it waits for a turn as an upload does.
            let turn = tokio::time::timeout(TURN, app.uploads.acquire()).await;
            let Ok(Ok(_turn)) = turn else { return Err(busy()) };
            if !app.origin.keep(&object, size).await? {
                return Err(missing());
            }
        }
        return Ok(part_headers(StatusCode::OK, size, None).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match Wanted::parse(asked, size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Outside => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
    };
    let turn = tokio::time::timeout(TURN, Arc::clone(&app.downloads).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(busy()) };
    count(&app.counters.reads, 1);
    let content_range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| format!("bytes {}-{}/{size}", range.start, range.end - 1));
    let (status, headers) = part_headers(status, range.end - range.start, content_range);
    let bytes = app.origin.stream(&object, range);
    Ok((status, headers, counted(bytes, app, turn)).into_response())
}

fn part_headers(status: StatusCode, len: u64, content_range: Option<String>) -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, len.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Digits and dashes only, so this cannot fail.
    if let Some(Ok(value)) = content_range.map(HeaderValue::try_from) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    (status, headers)
}

/// A body that counts what it sends, and keeps its turn to its end.
fn counted(bytes: crate::ByteStream, app: Arc<App>, turn: OwnedSemaphorePermit) -> Body {
    Body::from_stream(bytes.inspect(move |chunk| {
        let _held = &turn;
        match chunk {
            Ok(chunk) => count(&app.counters.bytes_served, chunk.len() as u64),
            Err(error) => tracing::warn!(%error, "a download breaks off"),
        }
    }))
}

/// PUT of an object: stored under its digest if it has it.
async fn put_object(
    State(app): State<Arc<App>>,
    Path(hex): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let object = digest(&hex)?;
    let len = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let len = len.ok_or(Failure(StatusCode::LENGTH_REQUIRED, "Content-Length is needed".to_owned()))?;
    if len > app.object_bytes {
        let reason = format!("{len} bytes are more than the limit of {}", app.object_bytes);
        return Err(Failure(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    let turn = tokio::time::timeout(TURN, Arc::clone(&app.uploads).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(busy()) };
    let origin = app.origin.clone();
    let deadline = TransferLimits::default().time_for(len);
    // A task of its own: if the client goes away, the turn lasts until what it left is cleaned up.
    let storing = tokio::spawn(async move {
        let _turn = turn;
        tokio::time::timeout(deadline, origin.put_stream(&object, len, body.into_data_stream())).await
    });
    match storing.await {
        Ok(Ok(stored)) => stored?,
        Ok(Err(_)) => return Err(Failure(StatusCode::REQUEST_TIMEOUT, "the upload is too slow".to_owned())),
        Err(error) => return Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
    count(&app.counters.objects_stored, 1);
    Ok(StatusCode::CREATED)
}

/// GET of the OCI manifest of the image with a name.
async fn get_image(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Failure> {
    let name: RefName = name.parse().map_err(bad)?;
    match app.origin.artifact_bytes(&name).await? {
        Some(document) => Ok(([(header::CONTENT_TYPE, OCI_MANIFEST_TYPE)], document).into_response()),
        None => Err(Failure(StatusCode::NOT_FOUND, format!("no image is called {name}"))),
    }
}

/// PUT of the OCI manifest of an image: gives the image the name.
async fn put_image(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Body,
) -> Result<StatusCode, Failure> {
    let name: RefName = name.parse().map_err(bad)?;
    let deadline = TransferLimits::default().time_for(MAX_ARTIFACT_BYTES as u64);
    let document = tokio::time::timeout(deadline, axum::body::to_bytes(body, MAX_ARTIFACT_BYTES)).await;
    let document: Bytes = match document {
        Ok(document) => document.map_err(bad)?,
        Err(_) => return Err(Failure(StatusCode::REQUEST_TIMEOUT, "the upload is too slow".to_owned())),
    };
    let image = ImageObjects::decode(&document).map_err(bad)?;
    match app.origin.publish(&name, &image).await {
        Ok(()) => Ok(StatusCode::CREATED),
        Err(error @ OriginError::NoObject { .. }) => Err(Failure(StatusCode::CONFLICT, error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// GET of the OCI index with the names of all images.
async fn get_index(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let index = app.origin.index_bytes().await?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.oci.image.index.v1+json")], index).into_response())
}
