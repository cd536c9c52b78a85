//! QUIC's settings. The figures were measured on links of 50 Mbit/s to 1 Gbit/s (`docs/design.md`).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ft_core::VmId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustix::net::sockopt;

use super::window::LimitedCubicConfig;
use crate::transport::TransportError;
use crate::transport::tls::{PeerTls, tls_error};

/// What one stream may have on the way or unread.
const STREAM_WINDOW: u32 = 1 << 20;
/// What a connection may have on the way or unread: two push lanes, the demand lane, and room.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// With the kernel's default, hundreds of packets are lost per 512 MiB.
const SOCKET_BUFFER: usize = 4 << 20;
/// A quarter of the idle timeout: three may be lost.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// After this much silence, a peer is dead.
const IDLE_TIMEOUT_MS: u32 = 2_000;
/// An Ethernet frame's payload less IPv4 and UDP headers; larger packets gain little on ordinary links.
const MAX_MTU: u16 = 1472;
/// Sessions that one child may have open: one per image.
const MAX_SESSIONS: u32 = 128;
/// Lanes of that many sessions.
const MAX_LANES: u32 = MAX_SESSIONS * 3;

/// The server's side: takes children, whose sessions are streams that they open.
pub(super) fn server(tls: &PeerTls) -> Result<quinn::ServerConfig, TransportError> {
    let crypto = QuicServerConfig::try_from(tls.server()?).map_err(tls_error)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = common();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_SESSIONS))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    server.transport_config(Arc::new(transport)).migration(false);
    Ok(server)
}

/// The client's side: speaks to `peer` and to nobody else.
pub(super) fn client(
    tls: &PeerTls,
    peer: VmId,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ClientConfig, TransportError> {
    let crypto = QuicClientConfig::try_from(tls.client(peer)?).map_err(tls_error)?;
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport);
    Ok(client)
}

/// Settings of connections to parents: they open block streams, and nothing else.
pub(super) fn to_parents() -> Arc<TransportConfig> {
    let mut transport = common();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_LANES));
    Arc::new(transport)
}

fn common() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_MTU);
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        // More than the peer's windows let out, so that pushed bytes never keep demanded ones from being queued.
        .send_window(2 * u64::from(CONNECTION_WINDOW))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(LimitedCubicConfig::default()))
        .datagram_receive_buffer_size(None);
    transport
}

/// A bound UDP socket with large buffers, or with as large ones as the kernel allows.
pub(super) fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    // The forced forms ignore net.core.{r,w}mem_max, and need CAP_NET_ADMIN.
    let receive = sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER));
    let send = sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER)
        .or_else(|_| sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER));
    let received = receive.and_then(|()| sockopt::socket_recv_buffer_size(&socket)).unwrap_or(0);
    let sent = send.and_then(|()| sockopt::socket_send_buffer_size(&socket)).unwrap_or(0);
    // The kernel reports twice what was asked for, to count its own bookkeeping.
    if received.min(sent) < SOCKET_BUFFER {
        tracing::info!(
            received,
            sent,
            "small UDP buffers: packets may be lost at high rates; raise net.core.rmem_max and wmem_max to {SOCKET_BUFFER}",
        );
    }
    Ok(socket)
}
