//! The sessions that this VM makes with the peers that it takes blocks from.
//!
//! What a session goes through:
//!
//! ```text
//!           the edges name it a parent, or
//!           a grandparent is needed                      PeerUp
//!   ┌──────┐ ───────────────────────► ┌────────────┐ ────────────────► ┌──────┐
//!   │ none │                          │ connecting │                   │  up  │
//!   └──────┘                          └────────────┘                   └──────┘
//!       ▲                 the pause is over,  ▲  │ PeerDown,              │ PeerDown
//!       │                 and it is a parent, │  │ or it takes too long   │
//!       │                 or is needed        │  ▼                        │
//!       │                                   ┌──────┐                      │
//!       │                                   │ down │ ◄────────────────────┘
//!       │                                   └──────┘
//!       └── from any state: the edges name it no more, and nothing is in flight or pushed from it
//! ```
//!
//! A session that is up may belong to a *slow* peer ([`Standing`](super::standing::Standing)): one that was raced
//! and lost by far, or that has blocks and sends them far more slowly than another source would, several times in a
//! row. It is asked last for a while, still pushes what it can, and is then tried again. That ends with the session, as
//! all that was learnt of the peer does.
//!
//! From its first failure a session is *lost*: other sources stand in. A parent's is lost until it is up
//! again; a grandparent's until the pause is over.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::event::StripeSet;
use crate::clock::{Duration, Instant};
use crate::vm::VmId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Up,
    Down,
}

/// One session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: State,
    /// Whether it has failed since it was last up, or since it was first tried.
    lost: bool,
    /// Failures since it was last up.
    failures: u32,
    /// When it last delivered a block, or refused one.
    pub(super) heard: Instant,
    /// When the first request was made that it has left unanswered since it was last heard.
    unanswered: Option<Instant>,
    /// Whether it once answered nothing for so long that what it pushed may be lost too.
    deaf: bool,
    /// What the peer was told to push, and of how many stripes.
    pub(super) subscribed: (StripeSet, u8),
}

/// The sessions, by peer.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_peer: BTreeMap<VmId, Link>,
}

impl Links {
    pub(super) fn state(&self, peer: VmId) -> Option<State> {
        self.by_peer.get(&peer).map(|link| link.state)
    }

    pub(super) fn is_up(&self, peer: VmId) -> bool {
        self.state(peer) == Some(State::Up)
    }

    /// Whether the session failed and is not up again. One that nobody has asked for yet is not lost.
    pub(super) fn is_lost(&self, peer: VmId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.lost)
    }

    /// A session is being made; `false` if it was before, or is up.
    pub(super) fn connect(&mut self, peer: VmId) -> bool {
        let link = self.by_peer.entry(peer).or_insert(Link {
            state: State::Down,
            lost: false,
            failures: 0,
            heard: Instant::ZERO,
            unanswered: None,
            deaf: false,
            subscribed: Default::default(),
        });
        let starts = link.state == State::Down;
        if starts {
            link.state = State::Connecting;
        }
        starts
    }

    /// The session is up; `false` if none was being made.
    pub(super) fn up(&mut self, peer: VmId) -> bool {
        let Some(link) = self.by_peer.get_mut(&peer).filter(|link| link.state == State::Connecting) else {
            return false;
        };
        (link.state, link.lost, link.failures) = (State::Up, false, 0);
        (link.unanswered, link.deaf) = (None, false);
        true
    }

    /// The session ended or could not be made: how often in a row that was so before. `None` if there was
    /// nothing to end.
    pub(super) fn down(&mut self, peer: VmId) -> Option<u32> {
        let link = self.by_peer.get_mut(&peer).filter(|link| link.state != State::Down)?;
        let before = link.failures;
        (link.state, link.lost, link.failures) = (State::Down, true, before.saturating_add(1));
        link.subscribed = Default::default();
        Some(before)
    }

    /// The session is not made again by itself, but may be when there is need.
    pub(super) fn forgive(&mut self, peer: VmId) {
        if let Some(link) = self.by_peer.get_mut(&peer) {
            link.lost = false;
        }
    }

    /// `peer` delivered a block, or refused one.
    pub(super) fn hear(&mut self, peer: VmId, now: Instant) {
        if let Some(link) = self.by_peer.get_mut(&peer) {
            (link.heard, link.unanswered) = (now, None);
        }
    }

    /// A request that was made to `peer` at `since` is given up. If it has answered nothing for so long a time, it
    /// is not believed to have sent what it believes to have sent in this session.
    pub(super) fn unanswered(&mut self, peer: VmId, since: Instant, now: Instant, too_long: Duration) {
        let Some(link) = self.by_peer.get_mut(&peer).filter(|link| link.heard < since) else { return };
        let first = *link.unanswered.get_or_insert(since);
        link.deaf |= now - first >= too_long;
    }

    /// Whether what `peer` sent in this session may be lost: it is to send again what it is asked for.
    pub(super) fn is_deaf(&self, peer: VmId) -> bool {
        self.by_peer.get(&peer).is_some_and(|link| link.deaf)
    }

    pub(super) fn remove(&mut self, peer: VmId) -> Option<Link> {
        self.by_peer.remove(&peer)
    }

    /// When `peer` last delivered anything.
    pub(super) fn heard(&self, peer: VmId) -> Instant {
        self.by_peer.get(&peer).map(|link| link.heard).unwrap_or_default()
    }

    pub(super) fn peers(&self) -> Vec<VmId> {
        self.by_peer.keys().copied().collect()
    }

    /// The sessions that are up.
    pub(super) fn up_mut(&mut self) -> impl Iterator<Item = (VmId, &mut Link)> + '_ {
        self.by_peer.iter_mut().filter(|(_, link)| link.state == State::Up).map(|(peer, link)| (*peer, link))
    }

    pub(super) fn get_mut(&mut self, peer: VmId) -> Option<&mut Link> {
        self.by_peer.get_mut(&peer)
    }
}
