//! The handshake, which rustls makes: here are its bytes read and written. rustls is shown one record at a time, so
//! what follows the handshake, however close, is left for the stream.

use std::io;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{CommonState, Error, ExtractedSecrets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::keys::Keys;
use super::record::{HEADER, MAX_RECORD, Opener, Sealer};

/// The most bytes of an incomplete flight: rustls takes no longer message.
const MAX_FLIGHT: usize = (64 << 10) + MAX_RECORD;

/// What a handshake leads to.
pub(super) struct Handshaken {
    pub(super) tcp: TcpStream,
    pub(super) protocol: Option<Vec<u8>>,
    pub(super) peer_certificates: Vec<CertificateDer<'static>>,
    pub(super) keys: Arc<Keys>,
    pub(super) opener: Opener,
    pub(super) sealer: Sealer,
    /// Records that came after the handshake.
    pub(super) unread: Vec<u8>,
}

/// Either side of a handshake.
pub(super) trait Side: std::ops::Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data: Send + 'static;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, received: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(received)
    }

    fn finish(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }
}

/// What to do next.
enum Step {
    Process,
    Send,
    Receive,
    Finish,
}

#[derive(Debug, Default)]
struct Bytes {
    received: Vec<u8>,
    /// How much of that rustls is shown.
    shown: usize,
    /// Where in that the last record that is whole ends.
    whole: usize,
    to_send: Vec<u8>,
}

/// Makes the handshake. The caller sets the deadline.
pub(super) async fn handshake<S: Side>(mut side: S, mut tcp: TcpStream) -> io::Result<Handshaken> {
    let mut bytes = Bytes::default();
    loop {
        match bytes.step(&mut side) {
            Ok(Step::Process) => {}
            Ok(Step::Send) => bytes.send(&mut tcp).await?,
            Ok(Step::Receive) => {
                bytes.send(&mut tcp).await?;
                while !bytes.show_more() {
                    bytes.receive(&mut tcp).await?;
                }
            }
            Ok(Step::Finish) => break,
            Err(error) => {
                // One step more has the alert, if there is one; rustls takes no other. The peer may hear it, or not.
                let _ = bytes.step(&mut side);
                let _ = bytes.send(&mut tcp).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
    bytes.send(&mut tcp).await?;
    bytes.finish(side, tcp).map_err(io::Error::other)
}

impl Bytes {
    fn step<S: Side>(&mut self, side: &mut S) -> Result<Step, Error> {
        let UnbufferedStatus { discard, state } = side.process(&mut self.received[..self.shown]);
        let step = state.and_then(|state| match state {
            ConnectionState::EncodeTlsData(mut message) => {
                append(&mut self.to_send, |room| message.encode(room))?;
                Ok(Step::Process)
            }
            ConnectionState::TransmitTlsData(message) => {
                message.done();
                Ok(Step::Send)
            }
            ConnectionState::BlockedHandshake => Ok(Step::Receive),
            ConnectionState::WriteTraffic(_) => Ok(Step::Finish),
            other => Err(Error::General(format!("a handshake does not end with {other:?}"))),
        });
        self.received.drain(..discard);
        self.shown = self.shown.saturating_sub(discard);
        self.whole = self.whole.saturating_sub(discard);
        step
    }

    /// Shows rustls the next record, or what there is of it; `false` if that is no more than before.
    fn show_more(&mut self) -> bool {
        let rest = &self.received[self.whole..];
        let len = match rest {
            [_, _, _, high, low, ..] => HEADER + usize::from(u16::from_be_bytes([*high, *low])),
            _ => HEADER,
        };
        let shown = self.whole + len.min(rest.len());
        if rest.len() >= len {
            self.whole = shown;
        }
        std::mem::replace(&mut self.shown, shown) < shown
    }

    async fn send(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        tcp.write_all(&self.to_send).await?;
        self.to_send.clear();
        Ok(())
    }

    async fn receive(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        if self.received.len() >= MAX_FLIGHT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake message without an end"));
        }
        self.received.reserve(MAX_RECORD);
        match tcp.read_buf(&mut self.received).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the TLS handshake")),
            _ => Ok(()),
        }
    }

    fn finish<S: Side>(self, side: S, tcp: TcpStream) -> Result<Handshaken, Error> {
        let common: &CommonState = &side;
        let protocol = common.alpn_protocol().map(<[u8]>::to_vec);
        let peer_certificates = common.peer_certificates().unwrap_or_default().to_vec();
        let suite = common.negotiated_cipher_suite().and_then(|suite| suite.tls13());
        let suite = suite.ok_or(Error::HandshakeNotComplete)?;
        let (ExtractedSecrets { tx, rx }, connection) = side.finish()?;
        let opener = Opener::new(suite, rx.0, rx.1)?;
        let sealer = Sealer::new(suite, tx.0, tx.1)?;
        let keys = Arc::new(Keys::new(suite, connection));
        Ok(Handshaken { tcp, protocol, peer_certificates, keys, opener, sealer, unread: self.received })
    }
}

/// Lets `encode` append to `out` as many bytes as it needs.
fn append(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), Error> {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start + room, 0);
        match encode(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}
