//! No wrong byte is accepted: not by a disk, not by a reader.

use std::rc::Rc;

use ft_core::Instant;

use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Integrity {
    image: Rc<Image>,
}

impl Integrity {
    pub(super) fn new(image: Rc<Image>) -> Self {
        Self { image }
    }
}

impl Check for Integrity {
    fn name(&self) -> &'static str {
        "integrity"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        let (vm, block, content, what) = match *seen {
            Seen::Kept { vm, block, content, .. } => (vm, block, content, "keeps"),
            Seen::ReaderGot { vm, block, content } => (vm, block, content, "gives a reader"),
            _ => return Ok(()),
        };
        ensure(self.image.truth(block) == Some(content), || format!("{vm} {what} a wrong block {block}"))
    }
}
