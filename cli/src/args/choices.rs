//! Values that several commands take.

use clap::ValueEnum;
use ft_proto::v1;

/// How a value is written on the command line.
pub(crate) fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

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

/// What carries blocks between workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportChoice {
    /// Every one; with each peer, the preferred one of those that it offers.
    #[default]
    Auto,
    /// QUIC, over UDP.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

impl From<TransportChoice> for ft_worker::TransportChoice {
    fn from(choice: TransportChoice) -> Self {
        match choice {
            TransportChoice::Auto => Self::Auto,
            TransportChoice::Quic => Self::Only(ft_worker::TransportKind::Quic),
            TransportChoice::Tcp => Self::Only(ft_worker::TransportKind::Tcp),
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
