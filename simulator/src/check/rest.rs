//! No work is left: some time after everything went right again, nothing is due to happen any more.

use ft_core::Instant;

use super::{Check, Verdict, ensure};
use crate::seen::Seen;

pub(super) struct Rest;

impl Check for Rest {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn see(&mut self, _at: Instant, _seen: &Seen<'_>) -> Verdict {
        Ok(())
    }

    fn end(&mut self, drained: bool) -> Verdict {
        ensure(drained, || "things go on for ever".to_owned())
    }
}
