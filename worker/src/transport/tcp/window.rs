//! How many bytes of a lane may be on the way or unread.

use crate::wire::{Envelope, FrameHeader, Lane, MAX_PAYLOAD, MAX_STORED_LEN, MuxLane};

/// Two blocks: one that is read while the next one comes. As much as QUIC's stream window.
const BLOCKS: u32 = 1 << 20;
/// Control messages are small, but for a subscription.
const CONTROL: u32 = 256 << 10;
/// Credit is granted in portions of at least this part of the window.
const PORTIONS: u32 = 4;

// A sender waits until a whole frame is granted. What has been taken and is not yet granted again is less than a
// portion, so the rest must have room for the longest message, or nothing would move any more.
const _: () = assert!((BLOCKS - BLOCKS / PORTIONS - MAX_STORED_LEN) as usize >= FrameHeader::BYTES);
const _: () = assert!((CONTROL - CONTROL / PORTIONS - MAX_PAYLOAD) as usize >= Envelope::BYTES);

/// The window of a lane, which is also its first credit.
pub(super) fn of(lane: MuxLane) -> u32 {
    match lane {
        MuxLane::Control => CONTROL,
        MuxLane::Blocks(Lane::Demand | Lane::Push(_)) => BLOCKS,
    }
}

/// The receiver's side of a lane's window.
#[derive(Debug)]
pub(super) struct Window {
    lane: MuxLane,
    /// Bytes that the sender may still send.
    open: u32,
    /// Bytes that were taken, and not yet granted again.
    taken: u32,
}

impl Window {
    pub(super) fn new(lane: MuxLane) -> Self {
        Self { lane, open: of(lane), taken: 0 }
    }

    /// Bytes arrive; `None` if they were not granted.
    pub(super) fn arrive(&mut self, len: u32) -> Option<()> {
        self.open = self.open.checked_sub(len)?;
        Some(())
    }

    /// Bytes that arrived have been taken; says how many to grant, once that is worth a frame.
    pub(super) fn take(&mut self, len: u32) -> Option<u32> {
        self.taken += len;
        if self.taken < of(self.lane) / PORTIONS {
            return None;
        }
        self.open += self.taken;
        Some(std::mem::take(&mut self.taken))
    }
}
