//! In which order the pair's heaps hold their VMs.

/// VMs that lie side by side in both heaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// 0 or 1: the tree in which these VMs come before those of the other class.
    pub(super) class: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has children in the tree of its class only, if there.
    Plain,
    /// Has children in the other tree too: that has more places with children than VMs of its own class to
    /// take them.
    Lent,
    /// Has no children, as long as there are enough others.
    Slow,
}

/// How many groups there are.
pub(super) const GROUPS: usize = 6;

impl Group {
    /// The group of `class` and `kind`.
    pub(super) fn new(class: usize, kind: Kind) -> Self {
        Self { class, kind }
    }

    /// Whether its VMs are slow.
    pub(super) fn is_slow(self) -> bool {
        self.kind == Kind::Slow
    }

    /// How many groups come before this one in the heap of `tree`.
    pub(super) fn rank(self, tree: usize) -> usize {
        match (self.kind, self.class == tree) {
            (Kind::Plain, true) => 0,
            (Kind::Lent, true) => 1,
            (Kind::Lent, false) => 2,
            (Kind::Plain, false) => 3,
            (Kind::Slow, true) => 4,
            (Kind::Slow, false) => 5,
        }
    }

    /// The group before which so many others come in the heap of `tree`.
    pub(super) fn at(tree: usize, rank: usize) -> Self {
        match rank {
            0 => Self::new(tree, Kind::Plain),
            1 => Self::new(tree, Kind::Lent),
            2 => Self::new(1 - tree, Kind::Lent),
            3 => Self::new(1 - tree, Kind::Plain),
            4 => Self::new(tree, Kind::Slow),
            _ => Self::new(1 - tree, Kind::Slow),
        }
    }
}
