//! One connection per parent, for as long as a session uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ft_core::VmId;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{TransportError, Upstream};

/// How long opening a session may take, connection and the parent's answer included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// Waits for a session with `peer` to `open`, until the deadline or until the transport is `closed`.
pub(super) async fn open_in_time(
    closed: &CancellationToken,
    peer: VmId,
    open: impl Future<Output = Result<Upstream, TransportError>>,
) -> Result<Upstream, TransportError> {
    let late = TransportError::Deadline { peer, what: "open a session" };
    let opened = closed.run_until_cancelled(timeout(CONNECT_DEADLINE, open)).await;
    opened.map_or(Err(TransportError::Closed), |opened| opened.unwrap_or(Err(late)))
}

/// The connections to parents. `L` closes its connection when it is dropped.
#[derive(Debug)]
pub(super) struct Links<L> {
    slots: Mutex<BTreeMap<VmId, Arc<Slot<L>>>>,
}

/// The connection to one parent, if there is one; the lock is held while it is being made.
type Slot<L> = AsyncMutex<Weak<L>>;

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<L> Links<L> {
    /// The connection to `peer`: the one there is, if it is `usable`, or the one that `connect` makes. One
    /// attempt per peer at a time.
    pub(super) async fn get(
        &self,
        peer: VmId,
        usable: impl FnOnce(&L) -> bool,
        connect: impl Future<Output = Result<Arc<L>, TransportError>>,
    ) -> Result<Arc<L>, TransportError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // Forget peers that nothing refers to any more.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |link| link.strong_count() > 0));
            Arc::clone(slots.entry(peer).or_insert_with(|| Arc::new(AsyncMutex::new(Weak::new()))))
        };
        let mut current = slot.lock().await;
        if let Some(link) = current.upgrade().filter(|link| usable(link)) {
            return Ok(link);
        }
        let link = connect.await?;
        *current = Arc::downgrade(&link);
        Ok(link)
    }
}
