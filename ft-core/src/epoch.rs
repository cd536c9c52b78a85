//! Epochs order a tree's changes.

use core::fmt;

/// The version of a function tree: a worker ignores edges of an epoch older than the one it knows.
///
/// `term` grows whenever another manager (or the same one, restarted) takes the tree over, `counter` with
/// every change within a term, so that a former owner is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The manager's term.
    pub term: u64,
    /// Changes within the term.
    pub counter: u64,
}

impl Epoch {
    /// The first epoch of a term.
    pub const fn first(term: u64) -> Self {
        Self { term, counter: 0 }
    }

    /// The epoch after this one, in the same term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { term: self.term, counter: self.counter + 1 }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}
