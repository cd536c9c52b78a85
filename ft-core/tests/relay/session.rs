//! What VMs say to each other: sessions, each made by a child with its parent, and their messages.

use ft_core::relay::{Ask, Class, Input, Rejection, Source, Subscription};
use ft_core::{BlockIndex, Instant, VmId};

/// A session's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);

/// One session. It ends for good; a child that comes back makes a new one.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) child: VmId,
    pub(crate) parent: VmId,
    pub(crate) alive: bool,
    /// When the last message of each lane arrives: a lane keeps its order.
    pub(crate) lanes: [Instant; 3],
}

/// Messages of one lane arrive in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everything but blocks, from the child.
    Up,
    /// Pushes, and refusals.
    Push,
    /// Demanded blocks.
    Demand,
}

impl Lane {
    pub(crate) fn of(class: Class) -> Self {
        if class == Class::Demand { Self::Demand } else { Self::Push }
    }
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Subscribe(Subscription),
    Unsubscribe,
    Ask { block: BlockIndex, ask: Ask },
    Have(BlockIndex),
    Block { block: BlockIndex, corrupt: bool },
    Refuse(BlockIndex),
}

impl Message {
    /// What the receiver's engine is told, and whether the receiver is the session's parent.
    pub(crate) fn into_input(self, child: VmId, parent: VmId) -> (VmId, Input) {
        let from = Source::Peer(parent);
        match self {
            Self::Subscribe(subscription) => (parent, Input::Subscribed { child, subscription }),
            Self::Unsubscribe => (parent, Input::Unsubscribed { child }),
            Self::Ask { block, ask } => (parent, Input::Asked { child, block, ask }),
            Self::Have(block) => (parent, Input::Has { child, block }),
            Self::Block { block, corrupt: false } => (child, Input::Stored { block, from }),
            Self::Block { block, corrupt: true } => {
                (child, Input::Rejected { block, from, why: Rejection::Corrupt })
            }
            Self::Refuse(block) => (child, Input::Rejected { block, from, why: Rejection::NotHere }),
        }
    }
}
