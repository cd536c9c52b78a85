//! Values that several commands take.

use clap::ValueEnum;
use ft_proto::v1;

/// How much of an image a VM receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// What readers ask for.
    #[default]
    Lazy,
    /// Every block.
    Full,
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Lazy => Self::Lazy,
            Mode::Full => Self::Full,
        }
    }
}

/// The shape of a function tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// One binary tree.
    Avl,
    /// Two binary trees, each carrying half of the blocks.
    #[default]
    Paired,
    /// Every VM passes on to one other: for comparison.
    Chain,
}

impl From<Shape> for v1::TreeShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Avl => Self::Avl,
            Shape::Paired => Self::Paired,
            Shape::Chain => Self::Chain,
        }
    }
}

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// runc if it is there and this is root, else the built-in sandbox.
    #[default]
    Auto,
    /// runc.
    Runc,
    /// The built-in sandbox.
    Sandbox,
}
