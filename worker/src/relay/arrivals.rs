//! Which blocks are here, and who waits for which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ft_core::BlockIndex;
use ft_core::manifest::Layout;
use ft_core::relay::BlockSet;
use tokio::sync::{oneshot, watch};

/// A block could be had from nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(String);

impl Unavailable {
    pub(super) fn new(cause: String) -> Self {
        Self(cause)
    }

    pub(super) fn stopped() -> Self {
        Self("this worker follows the image no more".to_owned())
    }
}

type Waiter = oneshot::Sender<Result<(), Unavailable>>;

/// What a reader finds.
pub(super) enum Presence {
    Here,
    Awaited(oneshot::Receiver<Result<(), Unavailable>>),
}

/// Blocks under their canonical indices.
pub(super) struct Arrivals {
    layout: Arc<Layout>,
    /// The blocks that occur more than once, and how often.
    places: BTreeMap<BlockIndex, u32>,
    state: Mutex<State>,
    /// When the last missing block came, while none is missing.
    complete: watch::Sender<Option<SystemTime>>,
    /// How often a block could be had from nowhere.
    failures: watch::Sender<u64>,
}

struct State {
    stored: BlockSet,
    /// Indices whose block is not here.
    missing: u32,
    /// Stored bytes of the blocks that are here.
    bytes: u64,
    waiters: BTreeMap<BlockIndex, Vec<Waiter>>,
    /// Nothing arrives any more.
    closed: bool,
}

/// How much is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Indices of the image whose block is here.
    pub blocks: u32,
    /// Stored bytes, each block counted once.
    pub bytes: u64,
}

impl Arrivals {
    /// `stored` may name a block by any of its indices.
    pub(super) fn new(layout: Arc<Layout>, stored: &BlockSet) -> Self {
        let mut canonical = BlockSet::new(layout.len());
        for place in stored.iter().filter_map(|index| layout.block(index)) {
            canonical.insert(place.canonical);
        }
        let here = layout.blocks().iter().filter(|place| canonical.contains(place.canonical)).count();
        let missing = layout.len() - u32::try_from(here).unwrap_or(0);
        let bytes =
            canonical.iter().filter_map(|index| layout.block(index)).map(|place| u64::from(place.stored_len));
        let state =
            State { missing, bytes: bytes.sum(), stored: canonical, waiters: BTreeMap::new(), closed: false };
        let places = repeated(&layout);
        Self {
            layout,
            places,
            state: Mutex::new(state),
            complete: watch::Sender::new((missing == 0).then(SystemTime::now)),
            failures: watch::Sender::new(0),
        }
    }

    /// Whether a block is here.
    pub(super) fn is_here(&self, block: BlockIndex) -> bool {
        self.lock().stored.contains(block)
    }

    /// Whether a block is here; if not, its arrival is told.
    pub(super) fn presence(&self, block: BlockIndex) -> Presence {
        let mut state = self.lock();
        if state.stored.contains(block) {
            return Presence::Here;
        }
        let (tell, arrival) = oneshot::channel();
        if state.closed {
            return Presence::Awaited(arrival);
        }
        let waiters = state.waiters.entry(block).or_default();
        // Readers that gave up leave their place.
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(tell);
        Presence::Awaited(arrival)
    }

    /// A block is stored now.
    pub(super) fn came(&self, block: BlockIndex) {
        let mut state = self.lock();
        if state.stored.insert(block) {
            state.missing -= self.places(block);
            state.bytes += self.stored_len(block);
        }
        let waiters = state.waiters.remove(&block).unwrap_or_default();
        if state.missing == 0 {
            self.complete.send_if_modified(|since| since.replace(SystemTime::now()).is_none());
        }
        drop(state);
        for waiter in waiters {
            // A reader that gave up needs no answer.
            let _ = waiter.send(Ok(()));
        }
    }

    /// A block is gone.
    pub(super) fn went(&self, block: BlockIndex) {
        let mut state = self.lock();
        if state.stored.remove(block) {
            state.missing += self.places(block);
            state.bytes -= self.stored_len(block);
            self.complete.send_replace(None);
        }
    }

    /// Indices at which `block` occurs.
    fn places(&self, block: BlockIndex) -> u32 {
        self.places.get(&block).copied().unwrap_or(1)
    }

    fn stored_len(&self, block: BlockIndex) -> u64 {
        self.layout.block(block).map_or(0, |place| u64::from(place.stored_len))
    }

    /// A block could be had from nowhere.
    pub(super) fn failed(&self, block: BlockIndex, why: &Unavailable) {
        self.failures.send_modify(|count| *count += 1);
        let waiters = self.lock().waiters.remove(&block).unwrap_or_default();
        for waiter in waiters {
            let _ = waiter.send(Err(why.clone()));
        }
    }

    /// Nothing arrives any more: whoever waits, or comes to wait, finds its channel closed.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiters.clear();
    }

    pub(super) fn holding(&self) -> Holding {
        let state = self.lock();
        Holding { blocks: self.layout.len() - state.missing, bytes: state.bytes }
    }

    pub(super) fn stored(&self) -> BlockSet {
        self.lock().stored.clone()
    }

    /// Since when every block is here.
    pub(super) fn complete_since(&self) -> Option<SystemTime> {
        *self.complete.borrow()
    }

    /// Waits until every block is here; for ever if that cannot happen any more.
    pub(super) fn completion(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut complete = self.complete.subscribe();
        async move {
            if complete.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) async fn settled(&self) {
        let mut failures = self.failures.subscribe();
        tokio::select! {
            () = self.completion() => {}
            _ = failures.changed() => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The blocks that occur more than once, and how often.
fn repeated(layout: &Layout) -> BTreeMap<BlockIndex, u32> {
    let mut places = BTreeMap::new();
    for (place, index) in layout.blocks().iter().zip((0..).map(BlockIndex)) {
        if place.canonical != index {
            *places.entry(place.canonical).or_insert(1) += 1;
        }
    }
    places
}
