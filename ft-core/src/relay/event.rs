//! What goes into the relay engine and what comes out.
//!
//! **Block indices.** A block whose id occurs at several indices is one block: the engine takes any of its
//! indices and names it by the first one ([`BlockPlace::canonical`](crate::manifest::BlockPlace)) in every
//! output. A driver that keeps readers by block keeps them under the canonical index too.
//!
//! **Sessions.** A session has a direction: the VM that asks makes it ([`Output::Connect`]), the VM that is
//! asked is told of it only by what comes over it. In a paired tree two VMs may be each other's parents; they
//! have two sessions then. [`Input::PeerDown`] is about sessions made here, [`Input::ChildDown`] about those
//! made by others.

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
    /// The metadata, the start-up profile, what readers ask for, and what parents push because they got it.
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
    /// How many VMs are in the tree; 0: not known.
    pub vms: u32,
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
    /// To whom the stripe's blocks are to go. The engine serves whoever subscribes, since a child may know
    /// newer edges than its parent.
    pub children: Vec<VmId>,
}

/// How a block is asked for; travels with the request from the asking VM's [`Output::Fetch`] to the asked
/// VM's [`Input::Asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// How urgent.
    pub class: Class,
    /// Whether the asked VM is to fetch the block if it does not have it; otherwise it refuses at once.
    pub may_fetch: bool,
    /// Whether to send the block even if it has been sent in this session: it was lost, or came damaged.
    /// Without it, asking for a block that is on its way here does nothing.
    pub again: bool,
}

/// What a child wants pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Only blocks of these stripes.
    pub stripes: StripeSet,
    /// How many stripes the child's tree has (1 or 2): it says what a stripe is.
    pub of: u8,
    /// What the child has already; every index of a block that it has is set.
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
    /// The session that [`Output::Connect`] asked for is up.
    PeerUp(VmId),
    /// The session that [`Output::Connect`] asked for ended, or could not be made: what was asked of the peer
    /// is void.
    PeerDown(VmId),
    /// The session that a child made ended: what it asked for and its subscription are void. When it comes
    /// back with a new session, this precedes all that it says there.
    ChildDown(VmId),
    /// A child wants blocks pushed; replaces its earlier subscription. What was sent to it in this session
    /// counts as had, as it may still be on its way.
    Subscribed {
        /// The child.
        child: VmId,
        /// What it wants.
        subscription: Subscription,
    },
    /// A child wants no more pushed. What it asked for, it still gets.
    Unsubscribed {
        /// The child.
        child: VmId,
    },
    /// A peer asks for a block. Answered by [`Output::Send`] or [`Output::Refuse`]. Asking again for the same
    /// block raises its class.
    Asked {
        /// The peer.
        child: VmId,
        /// The block.
        block: BlockIndex,
        /// How.
        ask: Ask,
    },
    /// A peer has got a block from elsewhere: it needs neither push nor answer ([`Output::Have`] at its end).
    Has {
        /// The peer.
        child: VmId,
        /// The block.
        block: BlockIndex,
    },
    /// A local reader waits for a block that is not stored (for one that is, this does nothing). It is told
    /// when [`Input::Stored`] or [`Output::Failed`] comes.
    Demand {
        /// The block.
        block: BlockIndex,
    },
    /// Local readers will probably want these blocks soon, in this order (read-ahead). They are fetched behind
    /// what is waited for; nobody is told if that fails.
    Expect {
        /// The blocks.
        blocks: Vec<BlockIndex>,
    },
    /// The function's start-up profile: the blocks that past cold starts read, in that order. Replaces an earlier
    /// one. Every VM wants them, right after the metadata.
    Profile {
        /// The blocks.
        blocks: Vec<BlockIndex>,
    },
    /// A block came, asked for or pushed, was verified, and is stored.
    Stored {
        /// The block.
        block: BlockIndex,
        /// Whence.
        from: Source,
    },
    /// A source did not deliver a block, or what it delivered (asked for or pushed) was no good.
    Rejected {
        /// The block.
        block: BlockIndex,
        /// Whence not.
        from: Source,
        /// Why.
        why: Rejection,
    },
    /// A stored block turned out to be damaged or gone; it is no longer here. If that came to light while
    /// sending it, this precedes the [`Input::Sent`] that gives the sending up.
    Dropped {
        /// The block.
        block: BlockIndex,
    },
    /// The driver has handed a block of [`Output::Send`] to the transport (or given it up). Not for blocks
    /// of a session that has ended.
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
    /// After [`Input::PeerDown`] the engine asks again when it is time.
    Connect(VmId),
    /// End the session with a peer (or the attempt to make it): nothing more is needed from it.
    /// [`Input::PeerDown`] need not follow.
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
    /// Ask a source for blocks: the origin in ascending order, a peer in the order of service. Answered block by block, in any order, by [`Input::Stored`] or
    /// [`Input::Rejected`]; an answer that comes after the engine has turned elsewhere does no harm.
    ///
    /// From the origin, adjacent blocks are read in one range ([`Layout::ranges`](crate::manifest::Layout::ranges)).
    /// A root of a paired tree reads every other block, so there the ranges are single blocks, several in
    /// flight at a time. A block that was asked of a peer may be named again with a more urgent class while
    /// it is in flight: pass it on, the peer moves it up.
    Fetch {
        /// The source.
        from: Source,
        /// The blocks.
        blocks: Vec<BlockIndex>,
        /// How.
        ask: Ask,
    },
    /// Tell a peer that a block came from elsewhere: it need not send it.
    Have {
        /// The peer.
        to: VmId,
        /// The block.
        block: BlockIndex,
    },
    /// Send a stored block to a child; answer [`Input::Sent`]. Pushes to one child go out in order; a
    /// [`Class::Demand`] overtakes them.
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
    /// A child has taken nothing of what the driver has in hand for it for too long: the manager should know.
    /// Comes again only after it has taken something.
    Stuck {
        /// The child.
        child: VmId,
    },
    /// Every block is stored. Comes again if one was dropped and is back.
    Complete,
}
