//! The receiving direction.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, ContentType, Error, HandshakeType, InvalidMessage};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::keys::Keys;
use super::record::{HEADER, MAX_RECORD, Opened, Opener};

/// Bytes that the kernel is asked for at once: at first, and from a peer that sends much. Any record fits.
const LEAST: usize = MAX_RECORD;
const MOST: usize = 128 << 10;
/// Records without data that may follow each other: the peer could keep this side busy with them.
const IDLE_RECORDS: u32 = 32;
/// The lengths of a handshake message's header, and of a key update.
const HANDSHAKE_HEADER: usize = 4;
const KEY_UPDATE: [u8; HANDSHAKE_HEADER] = [24, 0, 0, 1];

/// See the module.
pub(in super::super) struct ReadStream {
    tcp: OwnedReadHalf,
    opener: Opener,
    keys: Arc<Keys>,
    buffer: Vec<u8>,
    /// Where in the buffer plaintext lies that nobody has read.
    plain: Range<usize>,
    /// Where the bytes after it lie that are still sealed.
    sealed: Range<usize>,
    /// Records since the last one with data.
    idle: u32,
    end: Option<End>,
}

/// Why nothing more can be read.
#[derive(Clone, Debug)]
enum End {
    /// The peer has said that this was all.
    Closed,
    /// The connection ended without that: something may be missing.
    Truncated,
    /// What came is no TLS.
    Broken(Error),
}

impl End {
    fn result(&self) -> io::Result<()> {
        match self {
            Self::Closed => Ok(()),
            Self::Truncated => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without TLS close_notify"))
            }
            Self::Broken(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())),
        }
    }
}

impl AsyncRead for ReadStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        while into.remaining() > 0 {
            if !self.plain.is_empty() {
                self.give(into);
                continue;
            }
            if self.open_next() {
                continue;
            }
            // An end is told once everything before it was read.
            if into.remaining() < room {
                break;
            }
            if let Some(end) = &self.end {
                return Poll::Ready(end.result());
            }
            ready!(self.poll_receive(context))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl ReadStream {
    /// Reads what is sealed in `unread`, then what comes.
    pub(super) fn new(tcp: OwnedReadHalf, opener: Opener, keys: Arc<Keys>, unread: Vec<u8>) -> Self {
        let (sealed, mut buffer) = (0..unread.len(), unread);
        buffer.resize(buffer.len().max(LEAST), 0);
        Self { tcp, opener, keys, buffer, plain: 0..0, sealed, idle: 0, end: None }
    }

    /// Drops what the peer still sends, whatever it is, until it has closed its side or that was `most` bytes.
    pub(super) async fn discard(&mut self, most: usize) -> io::Result<()> {
        let mut dropped = 0;
        while dropped < most {
            match self.tcp.read(&mut self.buffer).await? {
                0 => break,
                len => dropped += len,
            }
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.tcp.as_ref().as_fd()
    }

    /// Copies plaintext to where it is wanted.
    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let len = self.plain.len().min(into.remaining());
        into.put_slice(&self.buffer[self.plain.start..self.plain.start + len]);
        self.plain.start += len;
    }

    /// Opens the next record; `false` if there is none (yet).
    fn open_next(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let opened = self.opener.open(&mut self.buffer[self.sealed.clone()]);
        opened.and_then(|opened| opened.map(|record| self.take(record)).transpose()).map_or_else(
            |error| {
                self.keys.blame(&error);
                self.end = Some(End::Broken(error));
                false
            },
            |taken| taken.is_some(),
        )
    }

    /// Does what the record at the start of the sealed bytes, now open, says.
    fn take(&mut self, record: Opened) -> Result<(), Error> {
        let start = self.sealed.start + HEADER;
        let plain = start..start + record.plain;
        self.sealed.start += record.whole;
        if record.typ == ContentType::ApplicationData && record.plain > 0 {
            self.idle = 0;
            self.plain = plain;
            return Ok(());
        }
        self.idle += 1;
        if self.idle > IDLE_RECORDS {
            return Err(Error::General("too many records without data".into()));
        }
        match (record.typ, &self.buffer[plain]) {
            (ContentType::ApplicationData, _) => Ok(()),
            (ContentType::Alert, &[_, alert]) => self.hear(alert.into()),
            (ContentType::Handshake, [header @ .., request @ (0 | 1)]) if *header == KEY_UPDATE => {
                if *request == 1 {
                    self.keys.want_update();
                }
                self.opener = self.keys.next_opener()?;
                Ok(())
            }
            (ContentType::Handshake, message) => ticket(message),
            (ContentType::Alert, _) => Err(InvalidMessage::InvalidEmptyPayload.into()),
            (got_type, _) => {
                let expect_types = vec![ContentType::ApplicationData];
                Err(Error::InappropriateMessage { expect_types, got_type })
            }
        }
    }

    fn hear(&mut self, alert: AlertDescription) -> Result<(), Error> {
        if alert != AlertDescription::CloseNotify {
            return Err(Error::AlertReceived(alert));
        }
        self.end = Some(End::Closed);
        Ok(())
    }

    /// Asks the kernel for more. Nothing in the buffer is plaintext.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.buffer[self.sealed.end..]);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut room))?;
        match room.filled().len() {
            0 => self.end = Some(End::Truncated),
            received => self.sealed.end += received,
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for half a buffer: what is there moves to the front, and a buffer that was full grows.
    fn make_room(&mut self) {
        let full = self.sealed.end == self.buffer.len();
        let room = self.buffer.len() - self.sealed.end;
        if self.sealed.is_empty() || room < self.buffer.len() / 2 {
            self.buffer.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..self.sealed.len();
        }
        if full && self.buffer.len() < MOST {
            self.buffer.resize((2 * self.buffer.len()).min(MOST), 0);
        }
    }
}

/// Tickets to resume a session with are of no use here; any other handshake message is out of place.
fn ticket(message: &[u8]) -> Result<(), Error> {
    let typ = message.first().map_or(HandshakeType::Unknown(0), |typ| HandshakeType::from(*typ));
    match typ {
        HandshakeType::NewSessionTicket => Ok(()),
        got_type => Err(Error::InappropriateHandshakeMessage {
            expect_types: vec![HandshakeType::KeyUpdate, HandshakeType::NewSessionTicket],
            got_type,
        }),
    }
}
