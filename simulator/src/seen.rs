//! What can be seen of a run from outside the engines: what a log keeps and checkers judge.

use std::collections::BTreeSet;
use std::fmt;

use ft_core::relay::{BlockSet, Input, Mode, Output, Source};
use ft_core::tree::FunctionTree;
use ft_core::{BlockIndex, Instant, VmId};

use crate::image::Content;

/// Something that happened.
pub(crate) enum Seen<'a> {
    /// A VM's worker begins to follow the image, with the blocks in `here` on its disk.
    Started { vm: VmId, mode: Mode, here: &'a BlockSet },
    /// It does so no more: it crashed, or left.
    Stopped { vm: VmId },
    /// What a worker tells its engine.
    Told { vm: VmId, input: &'a Input },
    /// What the engine wants done.
    Does { vm: VmId, output: &'a Output },
    /// A worker keeps what came as `block`.
    Kept { vm: VmId, block: BlockIndex, content: Content, from: Source },
    /// A worker puts a block on the wire. (What a liar makes of it afterwards is not its engine's doing.)
    Relayed { vm: VmId, child: VmId, block: BlockIndex, content: Content },
    /// A reader waits for a block.
    ReaderWaits { vm: VmId, block: BlockIndex },
    /// Readers of a block got it.
    ReaderGot { vm: VmId, block: BlockIndex, content: Content },
    /// Readers of a block were told that it cannot be had.
    ReaderTold { vm: VmId, block: BlockIndex },
    /// The manager changed the tree, which should hold `members`.
    Tree { tree: &'a dyn FunctionTree, members: &'a BTreeSet<VmId> },
    /// Something goes wrong, or right again.
    Fault { what: &'static str, vm: Option<VmId> },
    /// From now on nothing goes wrong any more.
    Calm,
}

/// Whoever looks at a run.
pub(crate) trait Watch {
    /// Something happened.
    fn see(&mut self, at: Instant, seen: &Seen<'_>);

    /// Whether the run may end here: enough was seen.
    fn is_done(&self) -> bool {
        false
    }
}

/// Nobody looks.
impl Watch for () {
    fn see(&mut self, _at: Instant, _seen: &Seen<'_>) {}
}

impl Seen<'_> {
    /// The VM that it is about.
    pub(crate) fn vm(&self) -> Option<VmId> {
        match *self {
            Self::Started { vm, .. }
            | Self::Stopped { vm }
            | Self::Told { vm, .. }
            | Self::Does { vm, .. }
            | Self::Kept { vm, .. }
            | Self::Relayed { vm, .. }
            | Self::ReaderWaits { vm, .. }
            | Self::ReaderGot { vm, .. }
            | Self::ReaderTold { vm, .. } => Some(vm),
            Self::Fault { vm, .. } => vm,
            Self::Tree { .. } | Self::Calm => None,
        }
    }

    /// Whether it is about `block`.
    pub(crate) fn is_about(&self, block: BlockIndex) -> bool {
        match self {
            Self::Kept { block: of, .. }
            | Self::Relayed { block: of, .. }
            | Self::ReaderWaits { block: of, .. }
            | Self::ReaderGot { block: of, .. }
            | Self::ReaderTold { block: of, .. } => *of == block,
            Self::Told { input, .. } => match input {
                Input::Asked { block: of, .. }
                | Input::Has { block: of, .. }
                | Input::Demand { block: of }
                | Input::Stored { block: of, .. }
                | Input::Rejected { block: of, .. }
                | Input::Dropped { block: of }
                | Input::Sent { block: of, .. } => *of == block,
                Input::Expect { blocks } | Input::Profile { blocks } => blocks.contains(&block),
                Input::Timeout => false,
                _ => true,
            },
            Self::Does { output, .. } => match output {
                Output::Have { block: of, .. }
                | Output::Send { block: of, .. }
                | Output::Refuse { block: of, .. }
                | Output::Failed { block: of, .. } => *of == block,
                Output::Fetch { blocks, .. } => blocks.contains(&block),
                _ => true,
            },
            _ => true,
        }
    }
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { vm, mode, here } => {
                write!(f, "{vm} starts, {mode:?}, with {} indices stored", here.count())
            }
            Self::Stopped { vm } => write!(f, "{vm} stops"),
            Self::Told { vm, input } => write!(f, "{vm} <- {}", Short(input)),
            Self::Does { vm, output } => write!(f, "{vm} -> {}", Short(output)),
            Self::Kept { vm, block, content, from } => {
                write!(f, "{vm} keeps block {block} from {from:?}, content {content:x}")
            }
            Self::Relayed { vm, child, block, content } => {
                write!(f, "{vm} sends block {block} to {child}, content {content:x}")
            }
            Self::ReaderWaits { vm, block } => write!(f, "{vm}: a reader waits for block {block}"),
            Self::ReaderGot { vm, block, .. } => write!(f, "{vm}: readers have block {block}"),
            Self::ReaderTold { vm, block } => {
                write!(f, "{vm}: readers hear that block {block} is not to be had")
            }
            Self::Tree { tree, members } => {
                write!(f, "tree {} epoch {}: {} VMs", tree.shape(), tree.epoch(), members.len())
            }
            Self::Fault { what, vm: Some(vm) } => write!(f, "** {what}: {vm}"),
            Self::Fault { what, vm: None } => write!(f, "** {what}"),
            Self::Calm => f.write_str("** calm: nothing goes wrong from here on"),
        }
    }
}

/// Inputs and outputs as they print themselves, with sets of blocks left out: those are long.
struct Short<T>(T);

impl<T: fmt::Debug> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.0);
        match text.split_once("have: BlockSet") {
            Some((before, _)) => write!(f, "{before}.. }}"),
            None => f.write_str(&text),
        }
    }
}
