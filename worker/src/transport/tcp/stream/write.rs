//! The sending direction.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, ContentType, HandshakeType};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::keys::Keys;
use super::record::{MAX_OWN_RECORD, Sealer};

/// Sealed bytes that are given to the kernel at once, at most: what the outbox hands over in one batch.
const BUFFER: usize = 8 * MAX_OWN_RECORD;
/// The level of alerts that are no errors, and of those that are (RFC 8446, section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// See the module.
pub(in super::super) struct WriteStream {
    tcp: OwnedWriteHalf,
    sealer: Sealer,
    keys: Arc<Keys>,
    /// Whole sealed records. It grows with what is sent, to [`BUFFER`].
    out: Vec<u8>,
    /// Bytes of `out` that the kernel has.
    sent: usize,
}

impl WriteStream {
    pub(super) fn new(tcp: OwnedWriteHalf, sealer: Sealer, keys: Arc<Keys>) -> Self {
        Self { tcp, sealer, keys, out: Vec::new(), sent: 0 }
    }

    /// Writes `parts` one after the other, and waits until the kernel has them. If it is dropped before that, what
    /// was sealed goes out before whatever is written next.
    pub(in super::super) async fn write_all(
        &mut self,
        parts: impl IntoIterator<Item = &[u8]>,
    ) -> io::Result<()> {
        let mut open = None;
        for mut part in parts {
            while !part.is_empty() {
                let start = match open {
                    Some(start) => start,
                    None => self.begin().await?,
                };
                let (now, later) = part.split_at(part.len().min(Sealer::room(&self.out, start)));
                self.out.extend_from_slice(now);
                part = later;
                open = Some(start);
                if Sealer::room(&self.out, start) == 0 {
                    self.seal(start, ContentType::ApplicationData)?;
                    open = None;
                }
            }
        }
        if let Some(start) = open {
            self.seal(start, ContentType::ApplicationData)?;
        }
        self.flush().await
    }

    /// Tells the peer that nothing more comes, and waits until the kernel has everything.
    pub(in super::super) async fn shutdown(&mut self) -> io::Result<()> {
        let alert = self.keys.last_alert();
        let level = if alert == AlertDescription::CloseNotify { WARNING } else { FATAL };
        self.append(&[level, alert.into()], ContentType::Alert)?;
        self.flush().await?;
        self.tcp.shutdown().await
    }

    /// Begins a record with data; the buffer has room for it.
    async fn begin(&mut self) -> io::Result<usize> {
        if self.out.len() + MAX_OWN_RECORD > BUFFER {
            self.flush().await?;
        }
        if self.keys.take_update_wanted() || self.sealer.is_worn() {
            self.update_key()?;
        }
        Ok(Sealer::begin(&mut self.out))
    }

    /// From the next record on, another key.
    fn update_key(&mut self) -> io::Result<()> {
        // No update of the peer's key is asked for.
        let message = [HandshakeType::KeyUpdate.into(), 0, 0, 1, 0];
        self.append(&message, ContentType::Handshake)?;
        self.sealer = self.keys.next_sealer().map_err(io::Error::other)?;
        Ok(())
    }

    fn append(&mut self, message: &[u8], typ: ContentType) -> io::Result<()> {
        let start = Sealer::begin(&mut self.out);
        self.out.extend_from_slice(message);
        self.seal(start, typ)
    }

    fn seal(&mut self, start: usize, typ: ContentType) -> io::Result<()> {
        self.sealer.seal(&mut self.out, start, typ).map_err(io::Error::other)
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.tcp.write(&self.out[self.sent..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.sent += written,
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
impl WriteStream {
    /// Makes the next record need a new key.
    pub(super) fn wear_key(&mut self) {
        self.sealer.wear();
    }

    /// Writes a record as it is, whether it is allowed or not.
    pub(in super::super) async fn send_record(&mut self, plain: &[u8], typ: ContentType) -> io::Result<()> {
        self.append(plain, typ)?;
        self.flush().await
    }

    /// Records that were sealed with the present key.
    pub(super) fn records_of_key(&self) -> u64 {
        self.sealer.sequence()
    }
}
