//! Transfers over HTTP: deadlines, retries, bounded bodies, and ranges that resume after a broken connection.

use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use reqwest::{Response, StatusCode, header};
use tokio::time::Instant;

mod error;
mod retry;
#[cfg(test)]
mod tests;
mod tls;

pub use error::TransferError;
pub(crate) use error::is_transient_status;
pub use retry::RetryPolicy;
pub(crate) use retry::{Backoff, Transient, retrying};
pub(crate) use tls::{http_client, is_loopback, web_tls};

/// How long a transfer may take, and how often it is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferLimits {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For the answer to begin, and between any two pieces of a body.
    pub idle: Duration,
    /// Bytes per second below which a transfer counts as stalled, however steadily it trickles.
    pub min_rate: u64,
    /// What to do about transient errors.
    pub retry: RetryPolicy,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            min_rate: 64 << 10,
            retry: RetryPolicy::default(),
        }
    }
}

impl TransferLimits {
    /// The most time that `len` bytes may take.
    pub(crate) fn time_for(&self, len: u64) -> Duration {
        self.idle + Duration::from_secs(len / self.min_rate.max(1))
    }
}

/// Sends a request and waits for the head of the answer. `deadline` covers the request's body too.
pub(crate) async fn send(
    request: reqwest::RequestBuilder,
    deadline: Duration,
) -> Result<Response, TransferError> {
    match tokio::time::timeout(deadline, request.send()).await {
        Ok(answer) => answer.map_err(|error| TransferError::from_reqwest(&error)),
        Err(_) => Err(TransferError::Stalled { waited: deadline, received: 0 }),
    }
}

/// The whole body, if it has at most `limit` bytes.
pub(crate) async fn body_within(
    mut response: Response,
    limit: usize,
    limits: &TransferLimits,
) -> Result<Bytes, TransferError> {
    let mut body = BytesMut::new();
    let deadline = Instant::now() + limits.time_for(limit as u64);
    while let Some(chunk) = next_chunk(&mut response, limits, deadline, body.len() as u64).await? {
        if body.len() + chunk.len() > limit {
            return Err(TransferError::TooLong { expected: limit as u64 });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// An answer that is no success, with what its body says about why.
pub(crate) async fn status_error(response: Response, limits: &TransferLimits) -> TransferError {
    /// Enough for a registry's JSON, or for the title of an HTML page.
    const EXCERPT: usize = 4096;
    let status = response.status().as_u16();
    let body = body_within(response, EXCERPT, limits).await.unwrap_or_default();
    TransferError::Status { status, said: error::excerpt(&body) }
}

async fn next_chunk(
    response: &mut Response,
    limits: &TransferLimits,
    deadline: Instant,
    received: u64,
) -> Result<Option<Bytes>, TransferError> {
    let until = deadline.min(Instant::now() + limits.idle);
    match tokio::time::timeout_at(until, response.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| TransferError::from_reqwest(&error)),
        Err(_) => Err(TransferError::Stalled { waited: limits.idle, received }),
    }
}

/// Checks that an answer is what was asked for: `range` of the object, or the whole of it.
pub(crate) fn check_range(response: &Response, range: &Range<u64>, whole: bool) -> Result<(), TransferError> {
    match (response.status(), whole) {
        (StatusCode::OK, true) => Ok(()),
        (StatusCode::OK, false) => Err(TransferError::RangeIgnored),
        (StatusCode::PARTIAL_CONTENT, false) => {
            let text = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let asked = format!("bytes {}-{}/", range.start, range.end - 1);
            match text {
                Some(text) if text.starts_with(&asked) => Ok(()),
                other => Err(TransferError::WrongRange { answered: other.unwrap_or("nothing").to_owned() }),
            }
        }
        (status, _) => Err(TransferError::Status { status: status.as_u16(), said: String::new() }),
    }
}

/// The value of a `Range` header. `range` is not empty.
pub(crate) fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end - 1)
}

/// A function that asks for the bytes of a range and returns the checked head of the answer.
pub(crate) type Opener<E> = Box<dyn Fn(Range<u64>) -> BoxFuture<'static, Result<Response, E>> + Send + Sync>;

/// The bytes of `range`, exactly, as they arrive. What fails transiently is opened again where it broke,
/// within the limits' retry budget.
pub(crate) fn resuming<E>(
    range: Range<u64>,
    limits: TransferLimits,
    open: Opener<E>,
    wrap: impl Fn(TransferError) -> E + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static
where
    E: Transient + Send + 'static,
{
    let backoff = Backoff::new(limits.retry.clone());
    let state = Resuming { start: range.start, range, limits, open, wrap, backoff, body: None };
    stream::try_unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Ok(chunk.map(|chunk| (chunk, state)))
    })
}

struct Resuming<E, W> {
    /// Where the transfer began.
    start: u64,
    /// What is still to come.
    range: Range<u64>,
    limits: TransferLimits,
    open: Opener<E>,
    /// Says what was being transferred.
    wrap: W,
    backoff: Backoff,
    body: Option<(Response, Instant)>,
}

impl<E: Transient, W: Fn(TransferError) -> E> Resuming<E, W> {
    async fn next(&mut self) -> Result<Option<Bytes>, E> {
        while !self.range.is_empty() {
            match self.attempt().await {
                Ok(chunk) => {
                    self.range.start += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Err(error) => {
                    self.body = None;
                    self.backoff.wait_after(error).await?;
                }
            }
        }
        Ok(None)
    }

    /// One piece of the body, which is not empty.
    async fn attempt(&mut self) -> Result<Bytes, E> {
        let left = self.range.end - self.range.start;
        let received = self.range.start - self.start;
        let (response, deadline) = match &mut self.body {
            Some(body) => body,
            body => {
                let response = (self.open)(self.range.clone()).await?;
                body.insert((response, Instant::now() + self.limits.time_for(left)))
            }
        };
        let expected = self.range.end - self.start;
        loop {
            let error = match next_chunk(response, &self.limits, *deadline, received).await {
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(Some(chunk)) if chunk.len() as u64 <= left => return Ok(chunk),
                Ok(Some(_)) => TransferError::TooLong { expected },
                Ok(None) => TransferError::Truncated { expected, received },
                Err(error) => error,
            };
            return Err((self.wrap)(error));
        }
    }
}
