//! The client's side of gRPC over our TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::{Error, Result};

/// TCP and TLS must be established within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that has been silent for this long is asked whether it lives …
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// … and given up when no answer comes within this time.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Establishes TLS connections for tonic's `Endpoint::connect_with_connector`. The configuration says who
/// is expected at the other end; the URI's host is only where to go.
#[derive(Clone)]
pub struct GrpcConnector(TlsConnector);

impl GrpcConnector {
    /// Connects with `config`, whose ALPN names must include [`ALPN_H2`](crate::ALPN_H2).
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self(TlsConnector::from(config))
    }
}

impl std::fmt::Debug for GrpcConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GrpcConnector")
    }
}

impl Service<Uri> for GrpcConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connect(tls, &target))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
                .map(TokioIo::new)
        })
    }
}

async fn connect(tls: TlsConnector, target: &Uri) -> io::Result<TlsStream<TcpStream>> {
    let host = target.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = target.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    tls.connect(name, stream).await
}

/// A gRPC channel to `https://HOST:PORT`. It connects now, and again whenever the connection is lost.
///
/// # Errors
/// [`Error::Connect`] names the cause: nobody listens, no answer in time. [`Error::Untrusted`]: its certificate is
/// refused.
pub async fn connect_grpc(url: &str, config: Arc<ClientConfig>) -> Result<Channel> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let (target, cause) = (url.to_owned(), causes(error));
        if is_refusal(error) { Error::Untrusted { target, cause } } else { Error::Connect { target, cause } }
    };
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| failed(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    endpoint.connect_with_connector(GrpcConnector::new(config)).await.map_err(|error| failed(&error))
}

/// An error and its sources in one line: the outermost alone says little more than "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// Whether a certificate was refused on this side.
fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // rustls's error travels inside an IO error, whose own source is that error's source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}
