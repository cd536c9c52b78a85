//! TCP's settings. The figures were measured on links of 50 Mbit/s to 1 Gbit/s (`docs/design.md`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Bytes that may wait in the kernel unsent: what a demanded block finds before it.
const UNSENT: u32 = 128 << 10;
/// Where the kernel has it: its default may be BBR, which falls behind on relays, as they often have nothing to send.
const CONGESTION: &[u8] = b"cubic";
/// Sent bytes that nobody has acknowledged for so long: the peer is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(4);
/// For connections on which not even pings are written any more.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Connections that the kernel has made and nobody has accepted.
const BACKLOG: i32 = 1024;

/// A socket that listens at `address`. The connections that it accepts have its settings.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A worker that starts again finds connections of the former one on their way out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    tune(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection to `address`.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    tune(&SockRef::from(&socket))?;
    socket.connect(address).await
}

fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    if let Err(error) = socket.set_tcp_congestion(CONGESTION) {
        // The kernel's default works too.
        tracing::debug!(%error, "this kernel has no cubic congestion control");
    }
    Ok(())
}
