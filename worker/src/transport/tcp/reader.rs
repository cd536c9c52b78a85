//! Reads a connection's frames and hands them to their sessions. It waits for nothing but the peer.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::assembler::ReadError;
use super::connection::{Connection, Found};
use super::inbox::{End, Inbox, Origin};
use super::{Side, downstream};
use crate::transport::Offer;
use crate::wire::{MuxHeader, MuxLane, WireError};

impl Connection {
    /// Reads until the peer has said its last word, or an error says how it broke the protocol.
    pub(super) async fn read_all(
        self: &Arc<Self>,
        stream: &mut (impl AsyncRead + Unpin),
        offers: Option<&mpsc::Sender<Offer>>,
    ) -> Result<End, WireError> {
        loop {
            match self.read_frame(stream, offers).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(ReadError::Io(error)) => return Ok(End::lost(&error)),
                Err(ReadError::Wire(error)) => return Err(error),
            }
        }
    }

    async fn read_frame(
        self: &Arc<Self>,
        stream: &mut (impl AsyncRead + Unpin),
        offers: Option<&mpsc::Sender<Offer>>,
    ) -> Result<Option<End>, ReadError> {
        let mut header = [0; MuxHeader::BYTES];
        stream.read_exact(&mut header).await?;
        self.heard();
        match MuxHeader::decode(header)? {
            MuxHeader::Data { session, lane, len } => match self.receiver(session, lane, offers)? {
                Some(inbox) => self.read_data(stream, &inbox, lane, len).await?,
                None => self.skip(stream, len).await?,
            },
            MuxHeader::Credit { session, lane } => {
                let mut more = [0; 4];
                stream.read_exact(&mut more).await?;
                self.known(session)?;
                self.outbox.credited(session, lane, u32::from_le_bytes(more))?;
            }
            MuxHeader::End { session } => {
                self.known(session)?;
                self.session_ended(session);
            }
            MuxHeader::Ping => {}
            MuxHeader::Close { len } => return Ok(Some(last_word(stream, len).await?)),
        }
        Ok(None)
    }

    /// Who takes the data of a session; nobody if it is over.
    fn receiver(
        self: &Arc<Self>,
        session: u32,
        lane: MuxLane,
        offers: Option<&mpsc::Sender<Offer>>,
    ) -> Result<Option<Arc<Inbox>>, WireError> {
        if self.side == Side::Parent && lane != MuxLane::Control {
            return Err(WireError::Unexpected { what: "a block from a child" });
        }
        match (self.find(session), offers) {
            (Found::Open(inbox), _) => Ok(Some(inbox)),
            (Found::Over, _) => Ok(None),
            (Found::Unknown, Some(offers)) => {
                let inbox = self.open(session)?;
                downstream::greet(Arc::clone(self), session, Arc::clone(&inbox), offers.clone());
                Ok(Some(inbox))
            }
            (Found::Unknown, None) => Err(unknown(session)),
        }
    }

    fn known(&self, session: u32) -> Result<(), WireError> {
        match self.find(session) {
            Found::Open(_) | Found::Over => Ok(()),
            Found::Unknown => Err(unknown(session)),
        }
    }

    async fn read_data(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        inbox: &Inbox,
        lane: MuxLane,
        len: u16,
    ) -> Result<(), ReadError> {
        let mut assembler = inbox.begin(lane, len)?;
        let mut left = usize::from(len);
        while let Some((arrived, len)) = assembler.read(stream, &mut left, &|| self.heard()).await? {
            inbox.put(arrived, Origin { lane, len });
            if left == 0 {
                break;
            }
        }
        inbox.leave(lane, assembler);
        Ok(())
    }

    async fn skip(&self, stream: &mut (impl AsyncRead + Unpin), len: u16) -> Result<(), ReadError> {
        let mut left = usize::from(len);
        let mut scratch = [0; 4096];
        while left > 0 {
            let most = left.min(scratch.len());
            stream.read_exact(&mut scratch[..most]).await?;
            self.heard();
            left -= most;
        }
        Ok(())
    }
}

fn unknown(session: u32) -> WireError {
    WireError::Invalid { field: "session", value: u64::from(session) }
}

/// Why the peer closes the connection.
async fn last_word(stream: &mut (impl AsyncRead + Unpin), len: u16) -> Result<End, ReadError> {
    let code = stream.read_u32_le().await?;
    let mut text = vec![0; usize::from(len).saturating_sub(4)];
    stream.read_exact(&mut text).await?;
    let text = String::from_utf8_lossy(&text);
    Ok(End::lost(&format_args!("it closed the connection: {} (code {code})", text.escape_debug())))
}
