//! How much of what was written may wait in the kernel, on its way or unsent.
//!
//! Cubic fills the longest queue on the path, and the kernel's send buffer grows with it: megabytes that a demanded
//! block waits for, and that make a slow link look fast for a while. The buffer is kept as small as the path allows.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::transport::in_flight::InFlight;

/// What may always wait, in bytes: a few milliseconds of a link of 200 Mbit/s, which processes that share few cores
/// pause for.
const FLOOR: u64 = 256 << 10;
/// How often the kernel is asked, at most.
const INTERVAL: Duration = Duration::from_millis(10);

/// The send buffer of one connection.
#[derive(Debug)]
pub(super) struct SendBuffer {
    socket: OwnedFd,
    in_flight: InFlight,
    acked: u64,
    looked: Instant,
    /// What the kernel was told last, in bytes.
    set: u64,
}

impl SendBuffer {
    pub(super) fn of(socket: OwnedFd) -> Self {
        let mut buffer =
            Self { socket, in_flight: InFlight::new(FLOOR), acked: 0, looked: Instant::now(), set: 0 };
        buffer.set();
        buffer
    }

    /// Something was written: the buffer follows what the path has shown.
    pub(super) fn adjust(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) < INTERVAL {
            return;
        }
        self.looked = now;
        // A kernel that does not say so leaves the buffer as it is.
        let Ok(info) = info(&self.socket) else { return };
        let micros = |micros: u32| Duration::from_micros(micros.into());
        let newly = info.tcpi_bytes_acked.saturating_sub(self.acked);
        self.acked = info.tcpi_bytes_acked;
        self.in_flight.delivered(now, newly, micros(info.tcpi_rtt), micros(info.tcpi_min_rtt));
        self.set();
    }

    /// Tells the kernel, if it makes a difference.
    fn set(&mut self) {
        let bytes = self.in_flight.bytes();
        if bytes.abs_diff(self.set) <= self.set / 4 {
            return;
        }
        self.set = bytes;
        // It takes twice of what it is told (socket(7)).
        let told = usize::try_from(bytes / 2).unwrap_or(usize::MAX).min(1 << 30);
        // The forced form ignores net.core.wmem_max, and needs CAP_NET_ADMIN.
        let done = sockopt::set_socket_send_buffer_size_force(&self.socket, told)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.socket, told))
            .and_then(|()| sockopt::socket_send_buffer_size(&self.socket));
        match done {
            Ok(size) if size < told => {
                tracing::info!(size, wanted = told, "a small send buffer: raise net.core.wmem_max");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the send buffer keeps its size"),
        }
    }
}

/// What the kernel knows of a connection (tcp(7), `TCP_INFO`). Fields that it does not know are 0.
fn info(socket: &OwnedFd) -> io::Result<libc::tcp_info> {
    // SAFETY: integers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: `getsockopt(2)` writes at most `len` bytes to a live structure of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_buffer_is_small_from_the_beginning_and_as_large_as_the_path_needs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        let mut buffer = SendBuffer::of(writer.try_clone().unwrap().into());
        let socket = writer.try_clone().unwrap();
        let size = || sockopt::socket_send_buffer_size(&socket).unwrap() as u64;
        assert_eq!(size(), FLOOR);
        let read = std::thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            let mut sum = 0;
            while let Ok(len @ 1..) = reader.read(&mut bytes) {
                sum += len;
            }
            sum
        });
        for _ in 0..64 {
            writer.write_all(&[7; 1 << 16]).unwrap();
            buffer.looked = Instant::now() - INTERVAL;
            buffer.adjust();
        }
        assert!(buffer.acked > 0);
        assert_eq!(size(), buffer.set / 2 * 2, "what the kernel was told last");
        assert!(buffer.in_flight.bytes().abs_diff(buffer.set) <= buffer.set / 4);
        writer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read.join().unwrap(), 64 << 16);
    }
}
