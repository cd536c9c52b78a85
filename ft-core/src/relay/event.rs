//! What goes into the relay engine and what comes out.

use alloc::vec::Vec;

use super::set::BlockSet;
use crate::block::{BlockIndex, Stripe};
use crate::epoch::Epoch;
use crate::vm::VmId;

/// Where a block can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Another VM's worker.
    Peer(VmId),
    /// The origin, where packs rest.
    Origin,
}

/// How urgent a block is. The order is the order of service: the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// A reader waits for it, here or below.
    Demand = 0,
    /// It holds metadata: no container starts without it.
    Metadata = 1,
    /// Past cold starts read it.
    Profile = 2,
    /// The rest of the image, in its order.
    Rest = 3,
}

/// How much of the image this VM receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The metadata, what readers ask for, and what parents push because they got it.
    Lazy,
    /// Every block.
    Full,
}

/// A set of stripes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StripeSet(pub u8);

impl StripeSet {
    /// Whether `stripe` is in the set.
    pub const fn contains(self, stripe: Stripe) -> bool {
        self.0 >> stripe.0 & 1 == 1
    }

    /// The set with `stripe` in it.
    #[must_use]
    pub const fn with(self, stripe: Stripe) -> Self {
        Self(self.0 | 1 << stripe.0)
    }
}

/// This VM's place in the function tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edges {
    /// The tree's epoch; edges of an older one than the engine knows are ignored.
    pub epoch: Epoch,
    /// One entry (`avl`) or two (`paired`), by stripe.
    pub stripes: Vec<StripeEdges>,
}

/// This VM's place in one of the tree's stripes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeEdges {
    /// Whom the stripe's blocks come from; `None`: this VM is the root and reads the origin.
    pub parent: Option<VmId>,
    /// The parent's parent, to turn to when the parent is lost.
    pub grandparent: Option<VmId>,
    /// To whom the stripe's blocks go.
    pub children: Vec<VmId>,
}

/// What a child wants pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Only blocks of these stripes.
    pub stripes: StripeSet,
    /// How many stripes the child's tree has (1 or 2): it says what a stripe is.
    pub of: u8,
    /// What the child has already.
    pub have: BlockSet,
}

/// Why a source did not deliver a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The peer does not have it and was not to fetch it.
    NotHere,
    /// What came failed verification; it was dropped.
    Corrupt,
    /// The connection or the origin failed.
    Failed,
    /// It did not come in time.
    Late,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The manager's newest edges.
    Edges(Edges),
    /// A session that [`Output::Connect`] asked for is up.
    PeerUp(VmId),
    /// The session with a peer ended, or could not be made. Its fetches and its subscription are void.
    PeerDown(VmId),
    /// A child wants blocks pushed; replaces its earlier subscription.
    Subscribed {
        /// The child.
        child: VmId,
        /// What it wants.
        subscription: Subscription,
    },
    /// A child wants no more.
    Unsubscribed {
        /// The child.
        child: VmId,
    },
    /// A peer asks for a block because a reader waits for it there or below.
    Asked {
        /// The peer.
        child: VmId,
        /// The block.
        block: BlockIndex,
        /// Whether this VM is to fetch it if it is not here; otherwise it refuses.
        may_fetch: bool,
    },
    /// A local reader waits for a block. It is told when [`Input::Stored`] or [`Output::Failed`] comes.
    Demand {
        /// The block.
        block: BlockIndex,
    },
    /// A block came, was verified, and is stored.
    Stored {
        /// The block.
        block: BlockIndex,
        /// Whence.
        from: Source,
    },
    /// A source did not deliver a block.
    Rejected {
        /// The block.
        block: BlockIndex,
        /// Whence not.
        from: Source,
        /// Why.
        why: Rejection,
    },
    /// A stored block turned out to be damaged or gone; it is no longer here.
    Dropped {
        /// The block.
        block: BlockIndex,
    },
    /// The driver has handed a block of [`Output::Send`] to the transport (or given it up).
    Sent {
        /// The child.
        child: VmId,
        /// The block.
        block: BlockIndex,
    },
    /// The engine's deadline has passed.
    Timeout,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make a session with a peer; answer [`Input::PeerUp`] or [`Input::PeerDown`].
    Connect(VmId),
    /// End the session with a peer that is no source any more.
    Disconnect(VmId),
    /// Tell a peer what to push; replaces the earlier subscription.
    Subscribe {
        /// The peer.
        parent: VmId,
        /// What it is to push.
        subscription: Subscription,
    },
    /// Tell a peer to push no more.
    Unsubscribe {
        /// The peer.
        parent: VmId,
    },
    /// Ask a source for blocks (ascending). Answered block by block by [`Input::Stored`] or
    /// [`Input::Rejected`]. From the origin, adjacent blocks are read in one range.
    Fetch {
        /// The source.
        from: Source,
        /// The blocks.
        blocks: Vec<BlockIndex>,
        /// How urgent.
        class: Class,
        /// For peers: whether they are to fetch what they do not have.
        may_fetch: bool,
    },
    /// Send a stored block to a child; answer [`Input::Sent`].
    Send {
        /// The child.
        child: VmId,
        /// The block.
        block: BlockIndex,
        /// How urgent: demands overtake.
        class: Class,
    },
    /// Tell a child that a block it asked for is not to be had here.
    Refuse {
        /// The child.
        child: VmId,
        /// The block.
        block: BlockIndex,
    },
    /// A block could be had from nowhere: whoever waits for it here is told why. The next demand tries anew.
    Failed {
        /// The block.
        block: BlockIndex,
        /// What was tried, in order.
        tried: Vec<(Source, Rejection)>,
    },
    /// Every block is stored.
    Complete,
}
