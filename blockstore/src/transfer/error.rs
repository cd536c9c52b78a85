//! Why a transfer over HTTP failed.

use std::error::Error;
use std::time::Duration;

use super::Transient;

/// Why a transfer over HTTP failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// No connection.
    #[error("cannot connect: {cause}; check the address, and that the server runs")]
    Connect {
        /// What the system said.
        cause: String,
    },
    /// The TLS handshake failed, so the server or this side is not who it should be.
    #[error("TLS refused: {cause}")]
    Tls {
        /// What rustls said.
        cause: String,
    },
    /// Nothing more arrived, or too slowly.
    #[error("stalled after {received} bytes (waited {waited:?})")]
    Stalled {
        /// How long was waited for the next piece.
        waited: Duration,
        /// Bytes before it.
        received: u64,
    },
    /// The connection broke.
    #[error("the connection broke: {cause}")]
    Broken {
        /// What the HTTP library said.
        cause: String,
    },
    /// The body ended early.
    #[error("truncated: {received} of {expected} bytes came")]
    Truncated {
        /// Bytes asked for.
        expected: u64,
        /// Bytes that came.
        received: u64,
    },
    /// The body went on after the end.
    #[error("more than the expected {expected} bytes came")]
    TooLong {
        /// Bytes asked for.
        expected: u64,
    },
    /// 200 where 206 was due.
    #[error(
        "the server ignores byte ranges (it answered 200 instead of 206); serve the objects from one that does not"
    )]
    RangeIgnored,
    /// 206, but for another range.
    #[error("the server answered with another range ({answered})")]
    WrongRange {
        /// Its `Content-Range`.
        answered: String,
    },
    /// Any other status.
    #[error("the server answered {status}{}{said}", if said.is_empty() { "" } else { ": " })]
    Status {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body, or the messages in it.
        said: String,
    },
}

impl TransferError {
    /// Sorts the HTTP library's errors, which tell their cause only in their sources.
    pub(crate) fn from_reqwest(error: &reqwest::Error) -> Self {
        let mut cause = error.to_string();
        let mut tls = None;
        let mut source = error.source();
        while let Some(inner) = source {
            cause = inner.to_string();
            tls = tls.or_else(|| find_tls(inner));
            source = inner.source();
        }
        match tls {
            Some(cause) => Self::Tls { cause },
            None if error.is_connect() => Self::Connect { cause },
            None => Self::Broken { cause },
        }
    }
}

/// rustls' error, which is hidden in one or several layers of `io::Error`.
fn find_tls(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(tls.to_string()),
        None => find_tls(error.downcast_ref::<std::io::Error>()?.get_ref()?),
    }
}

/// Whether a status says that the server, not the request, is the trouble.
pub(crate) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

impl Transient for TransferError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Stalled { .. } | Self::Broken { .. } | Self::Truncated { .. } => {
                true
            }
            Self::Status { status, .. } => is_transient_status(*status),
            Self::Tls { .. } | Self::TooLong { .. } | Self::RangeIgnored | Self::WrongRange { .. } => false,
        }
    }
}

/// What an error page says, on one line: a registry's messages, or the beginning of the text.
pub(super) fn excerpt(body: &[u8]) -> String {
    const MOST: usize = 200;
    let messages = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|json| {
        let errors = json.get("errors")?.as_array()?;
        let messages = errors.iter().filter_map(|error| error.get("message")?.as_str());
        Some(messages.collect::<Vec<_>>().join("; "))
    });
    let text = messages.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MOST).collect()
}
