//! At most one fetch of a block is in flight, but for a hedge: a second source, and only for what somebody
//! waits for. And nothing is fetched that is here.

use std::rc::Rc;

use ft_core::Instant;
use ft_core::relay::{Class, Output, Source};

use super::holdings::Holdings;
use super::requests::{Request, Requests, SOONEST, SOONEST_IN_BACKGROUND};
use super::{Broken, Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Flights {
    requests: Requests,
    holdings: Holdings,
}

impl Flights {
    pub(super) fn new(image: Rc<Image>) -> Self {
        Self { requests: Requests::new(image), holdings: Holdings::default() }
    }

    /// One more request than those in `open`: sources that are late may have been given up.
    fn judge(at: Instant, new: &Request, open: &[Request]) -> Verdict {
        let demanded = new.ask.class == Class::Demand;
        // Who is not to fetch gives at once what it has, so it is given up as soon; so is who was asked for a
        // demand, even if all were given up since and the block is fetched anew.
        let was_demanded = |request: &Request| request.ask.class == Class::Demand;
        let patient = |request: &Request| !demanded && !was_demanded(request) && request.ask.may_fetch;
        let pending = |request: &&Request| {
            at < request.since + if patient(request) { SOONEST_IN_BACKGROUND } else { SOONEST }
        };
        let open: Vec<Source> = open.iter().filter(pending).map(|request| request.from).collect();
        let hedge = demanded && open.len() == 1;
        ensure(open.is_empty() || hedge, || format!("{:?} and {open:?} at once", new.from))
    }
}

impl Check for Flights {
    fn name(&self) -> &'static str {
        "flights"
    }

    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict {
        self.holdings.see(seen);
        self.requests.see(seen);
        let Seen::Does { vm, output: Output::Fetch { from, blocks, ask } } = *seen else { return Ok(()) };
        for &block in blocks {
            ensure(!self.holdings.has(vm, block), || format!("{vm} fetches block {block}, which is here"))?;
            let new = Request { from: *from, since: at, ask: *ask };
            let open = self.requests.of(vm, block);
            if !open.iter().any(|request| request.from == *from) {
                Self::judge(at, &new, open).map_err(|broken| {
                    let why = format!("{vm} fetches block {block} from {}", broken.why);
                    Broken { why, ..broken.of(vm, Some(block)) }
                })?;
            }
            self.requests.made(vm, block, new);
        }
        Ok(())
    }
}
