//! Function trees: which VM receives a function image from which.
//!
//! A tree has one stripe (`avl`, `chain`) or two (`paired`); in each stripe the VMs form a binary tree whose root
//! reads the origin and in which every other VM receives the stripe's blocks from its parent. Every operation
//! returns the edges that it changed and the tree's new epoch.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::block::Stripe;
use crate::epoch::Epoch;
use crate::vm::VmId;

mod avl;
mod chain;
mod index;
mod journal;
mod paired;
#[cfg(test)]
mod tests;

pub use avl::AvlTree;
pub use chain::Chain;
pub use paired::PairedTree;

/// The kinds of function tree. The text forms are `avl`, `paired` and `chain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One height-balanced binary tree; see [`AvlTree`].
    Avl,
    /// Two binary trees over the same VMs, each carrying half of the blocks; see [`PairedTree`].
    Paired,
    /// Every VM passes on to one other, to compare with; see [`Chain`].
    Chain,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Avl, Self::Paired, Self::Chain];

    /// How many stripes a tree of this shape has: 1 or 2.
    pub const fn stripes(self) -> u8 {
        match self {
            Self::Avl | Self::Chain => 1,
            Self::Paired => 2,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Avl => "avl",
            Self::Paired => "paired",
            Self::Chain => "chain",
        })
    }
}

impl FromStr for Shape {
    type Err = ParseShapeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "avl" => Ok(Self::Avl),
            "paired" => Ok(Self::Paired),
            "chain" => Ok(Self::Chain),
            _ => Err(ParseShapeError),
        }
    }
}

/// The text names no shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tree shape: expected avl, paired or chain")]
pub struct ParseShapeError;

/// Why an operation was refused. The tree and its epoch are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The VM to insert is in the tree.
    #[error("{0} is in the function tree already")]
    AlreadyIn(VmId),
    /// The VM to remove or to mark is not in the tree.
    #[error("{0} is not in the function tree")]
    NotIn(VmId),
}

/// A VM has a new parent in one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeChange {
    /// The stripe.
    pub stripe: Stripe,
    /// The VM whose parent changed.
    pub child: VmId,
    /// The new parent; `None`: the VM is now the stripe's root.
    pub parent: Option<VmId>,
}

/// What one operation changed.
///
/// Applied to a map from (stripe, VM) to parent in the order of the epochs, these changes rebuild the tree:
/// set the edges, then forget the removed VM's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tree's epoch after the operation; greater than every one before.
    pub epoch: Epoch,
    /// The edges that differ from before, at most one for each stripe and child, ascending.
    pub edges: Vec<EdgeChange>,
    /// The VM that the operation removed; it has no edges any more.
    pub removed: Option<VmId>,
}

/// The VMs that run a function, arranged for distribution.
///
/// Heights and depths count edges: the root has depth 0, and a tree of one VM has height 0. In every stripe of
/// `avl` and `paired`, every node's two subtrees differ in height by at most one (an absent subtree counts as
/// one lower than a leaf), so that the height is O(log n). A stripe that the tree does not have is empty.
///
/// Slow VMs have no children in any stripe as long as others can take all the places that have some: a slow
/// VM with children holds back everyone below it, one without only itself. Where there are too many slow VMs
/// for that, they take the lowest such places.
pub trait FunctionTree: fmt::Debug {
    /// The tree's shape.
    fn shape(&self) -> Shape;

    /// The epoch of the last change.
    fn epoch(&self) -> Epoch;

    /// How many VMs are in the tree.
    fn len(&self) -> usize;

    /// Adds a VM.
    ///
    /// # Errors
    /// [`TreeError::AlreadyIn`]: nothing changed.
    fn insert(&mut self, vm: VmId) -> Result<Change, TreeError>;

    /// Takes a VM out.
    ///
    /// # Errors
    /// [`TreeError::NotIn`]: nothing changed.
    fn remove(&mut self, vm: VmId) -> Result<Change, TreeError>;

    /// Marks a VM as slow, or no longer so, and moves it where it belongs. A VM is not slow when it is inserted.
    /// Nothing moves if it is marked so already.
    ///
    /// # Errors
    /// [`TreeError::NotIn`]: nothing changed.
    fn set_slow(&mut self, vm: VmId, slow: bool) -> Result<Change, TreeError>;

    /// Whether the VM is marked as slow.
    fn is_slow(&self, vm: VmId) -> bool;

    /// Whether the VM is in the tree.
    fn contains(&self, vm: VmId) -> bool;

    /// From whom the VM receives the stripe's blocks; `None` for the root and for VMs not in the tree.
    fn parent_of(&self, vm: VmId, stripe: Stripe) -> Option<VmId>;

    /// To whom the VM passes the stripe's blocks, left and right.
    fn children_of(&self, vm: VmId, stripe: Stripe) -> [Option<VmId>; 2];

    /// The VM that reads the stripe's blocks from the origin; `None` if the tree is empty.
    fn root(&self, stripe: Stripe) -> Option<VmId>;

    /// How many edges lie between the stripe's root and the VM; `None` if it is not in the tree.
    fn depth_of(&self, vm: VmId, stripe: Stripe) -> Option<u32>;

    /// The stripe's greatest depth; 0 if the tree is empty.
    fn height(&self, stripe: Stripe) -> u32;

    /// All VMs, in level order of the first stripe: the root first, everyone after its parent.
    fn vms(&self) -> Box<dyn Iterator<Item = VmId> + '_>;

    /// How many stripes the tree has: 1 or 2.
    fn stripes(&self) -> u8 {
        self.shape().stripes()
    }

    /// Whether no VM is in the tree.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An empty tree whose first change will have the epoch after `epoch`.
pub fn new(shape: Shape, epoch: Epoch) -> Box<dyn FunctionTree + Send> {
    match shape {
        Shape::Avl => Box::new(AvlTree::new(epoch)),
        Shape::Paired => Box::new(PairedTree::new(epoch)),
        Shape::Chain => Box::new(Chain::new(epoch)),
    }
}
