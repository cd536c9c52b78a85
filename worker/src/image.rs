//! One function image on this VM: its blocks, the files that it is mounted from, and who reads them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ft_blockstore::{BlockStore, ImageCache, PinGuard};
use ft_core::manifest::{Layout, Manifest};
use ft_core::relay::{BlockSet, Edges, Mode, Readahead, ReadaheadLimits};
use ft_core::{BlockIndex, Digest};
use ft_proto::v1;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};

use crate::relay::{Addresses, BlockMemory, Relay, RelayOptions};
use crate::transport::Offer;

mod error;
mod reading;
mod recorder;

pub use error::ImageError;
use recorder::Recorder;
pub(crate) use recorder::StartRecording;

/// How often a block is had anew when what is stored turns out to be damaged.
const ATTEMPTS: u32 = 3;
/// How long after its last block an image is left alone before it is finished.
const FINISH_PAUSE: Duration = Duration::from_secs(10);
/// Blocks that are made ready at a time when all are wanted.
const FILLS: usize = 16;

/// One function image on this VM.
pub struct Image {
    digest: Digest,
    config: Vec<u8>,
    layout: Arc<Layout>,
    mode: Mode,
    relay: Relay,
    cache: Arc<ImageCache>,
    memory: Arc<BlockMemory>,
    read_deadline: Duration,
    /// Blocks that a reader here has read, under their canonical indices.
    touched: Mutex<BlockSet>,
    readahead: Mutex<Readahead>,
    recorder: Arc<Recorder>,
    /// The last read that failed: when, and why.
    unread: Mutex<Option<(Instant, String)>>,
    _pin: PinGuard,
}

impl Image {
    /// Begins to receive the image with this manifest. Blocks that the store has are used. Blocking.
    ///
    /// # Errors
    /// [`ImageError::Cache`].
    pub fn open(
        manifest: &Manifest,
        options: RelayOptions,
        read_deadline: Duration,
    ) -> Result<Self, ImageError> {
        let (digest, layout, mode) = (options.image, Arc::clone(&options.layout), options.mode);
        let (store, memory) = (Arc::clone(&options.store), Arc::clone(&options.memory));
        let pin = store.pin(layout.blocks().iter().map(|place| place.id));
        let cache = ImageCache::create(&store, &digest, Arc::clone(&layout))?;
        let stored = stored_blocks(&store, &layout);
        let (first, end) = (BlockIndex(layout.metadata_blocks()), BlockIndex(layout.len()));
        let readahead = Readahead::new(ReadaheadLimits::default(), first, end);
        Ok(Self {
            digest,
            config: manifest.config.clone(),
            mode,
            relay: Relay::start(options, &stored),
            cache,
            memory,
            read_deadline,
            touched: Mutex::new(BlockSet::new(layout.len())),
            readahead: Mutex::new(readahead),
            recorder: Recorder::new(layout.len()),
            unread: Mutex::default(),
            layout,
            _pin: pin,
        })
    }

    /// The image, by its manifest's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The run configuration: JSON.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// How much of the image this VM receives.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes the manager's edges, unless they are older than those known.
    pub async fn follow(&self, edges: Edges, addresses: Addresses) {
        self.relay.follow(edges, addresses).await;
    }

    /// Takes the function's start-up profile: the blocks that past cold starts read, in that order.
    pub async fn profile(&self, blocks: Vec<BlockIndex>) {
        self.relay.profile(blocks).await;
    }

    /// Records what is read of the data from now on, until the recording is dropped; `None` while another start
    /// is being recorded.
    pub(crate) fn record_start(&self) -> Option<StartRecording> {
        self.recorder.begin()
    }

    /// Takes a session that a child opens.
    pub async fn offer(&self, offer: Offer) {
        self.relay.offer(offer).await;
    }

    /// Waits until the metadata is here; the file that holds it.
    ///
    /// # Errors
    /// [`ImageError`] if a block of it cannot be had.
    pub async fn metadata(&self) -> Result<PathBuf, ImageError> {
        let metadata: Vec<_> = (0..self.layout.metadata_blocks()).map(BlockIndex).collect();
        try_join_all(metadata.iter().map(|block| self.make_ready(*block))).await?;
        self.touch(&metadata);
        Ok(self.cache.metadata_path())
    }

    /// Whether the image has any file data.
    pub fn has_data(&self) -> bool {
        self.cache.data_len() > 0
    }

    /// The file that holds the data, if all of it is there.
    pub fn whole_data(&self) -> Option<PathBuf> {
        self.cache.data_complete().then(|| self.cache.data_path())
    }

    /// Waits until every block is here and in its place; the files that hold metadata and data.
    ///
    /// # Errors
    /// [`ImageError`] if a block cannot be had.
    pub async fn everything(&self) -> Result<(PathBuf, PathBuf), ImageError> {
        if self.mode == Mode::Full {
            // They come by themselves, in the best order. If one does not, asking for it says why.
            self.relay.settled().await;
        }
        let blocks = futures_util::stream::iter((0..self.layout.len()).map(BlockIndex));
        let ready = blocks.map(|block| self.make_ready(block)).buffered(FILLS);
        ready.try_for_each(|()| async { Ok(()) }).await?;
        Ok((self.cache.metadata_path(), self.cache.data_path()))
    }

    /// Once every block is stored and the storm of starts is over, puts them all in their places, one at a
    /// time: from then on, containers are mounted straight from the local file.
    pub(crate) fn finish_in_background(self: &Arc<Self>) {
        let image = Arc::downgrade(self);
        let complete = self.relay.completion();
        tokio::spawn(async move {
            complete.await;
            tokio::time::sleep(FINISH_PAUSE).await;
            let Some(blocks) = image.upgrade().and_then(|image| image.blocks_to_finish()) else { return };
            for block in (0..blocks).map(BlockIndex) {
                // An image that is not followed any more is not finished.
                let Some(image) = image.upgrade() else { return };
                if let Err(error) = image.make_ready(block).await {
                    tracing::warn!(image = %image.digest, %error, "the image stays served through FUSE");
                    return;
                }
            }
        });
    }

    /// How many blocks there are; none if the store has no room for all of them once more, decompressed.
    fn blocks_to_finish(&self) -> Option<u32> {
        if let Err(error) = self.cache.check_room() {
            tracing::info!(image = %self.digest, %error, "the image stays served through FUSE");
            return None;
        }
        Some(self.layout.len())
    }

    /// Counts blocks as read, for instance because the image was read otherwise than through a mount.
    pub fn touch_everything(&self) {
        let all: Vec<_> = (0..self.layout.len()).map(BlockIndex).collect();
        self.touch(&all);
    }

    /// Why a reader got an error, if one did after `since`.
    pub fn unread_since(&self, since: Instant) -> Option<String> {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.as_ref().filter(|(at, _)| *at >= since).map(|(_, cause)| cause.clone())
    }

    fn note_unread(&self, at: Instant, cause: String) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, cause));
    }

    fn lock_readahead(&self) -> MutexGuard<'_, Readahead> {
        self.readahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all sessions about the image. Readers get errors.
    pub async fn stop(&self) {
        self.relay.stop().await;
    }

    /// What the manager is told.
    pub fn status(&self) -> v1::ImageStatus {
        let traffic = self.relay.traffic();
        let holding = self.relay.holding();
        let epoch = self.relay.epoch();
        let complete_since = self.relay.complete_since();
        let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let touched_bytes = touched
            .iter()
            .filter_map(|block| self.layout.block(block))
            .map(|place| u64::from(place.stored_len));
        v1::ImageStatus {
            image: self.digest.to_string(),
            epoch: Some(v1::Epoch { term: epoch.term, counter: epoch.counter }),
            total_blocks: self.layout.len(),
            stored_blocks: holding.blocks,
            touched_blocks: touched.count(),
            touched_bytes: touched_bytes.sum(),
            origin_bytes: traffic.origin_bytes,
            peer_bytes_in: traffic.peer_bytes_in,
            peer_bytes_out: traffic.peer_bytes_out,
            corrupt_blocks: traffic.corrupt_blocks,
            complete: complete_since.is_some(),
            complete_unix_us: complete_since.map_or(0, unix_us),
            stored_bytes: holding.bytes,
            touched: touched.to_bytes(),
            demand_waits: self.relay.demand_waits(),
            hedges: traffic.hedges,
            late_requests: traffic.late_requests,
        }
    }

    fn touch(&self, blocks: &[BlockIndex]) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        for place in blocks.iter().filter_map(|block| self.layout.block(*block)) {
            touched.insert(place.canonical);
        }
    }

    /// Puts a stored block's bytes in their place; `false` if it is not stored any more.
    async fn fill(&self, block: BlockIndex) -> Result<bool, ImageError> {
        let Some(stored) = self.relay.bytes(block).await else { return Ok(false) };
        self.cache.fill_async(block, stored).await?;
        Ok(true)
    }

    /// Waits until a block is here, and puts its bytes in their place.
    async fn make_ready(&self, block: BlockIndex) -> Result<(), ImageError> {
        for _ in 0..ATTEMPTS {
            if self.cache.is_filled(block) {
                return Ok(());
            }
            self.relay.require(block).await?;
            // Without bytes, what the store had was damaged; it has been given up, and is required anew.
            if self.memory.fill(self.fill(block)).await? {
                return Ok(());
            }
        }
        Err(ImageError::Damaged { image: self.digest, block })
    }
}

/// The blocks of an image that the store has.
fn stored_blocks(store: &BlockStore, layout: &Layout) -> BlockSet {
    let mut stored = BlockSet::new(layout.len());
    for (place, index) in layout.blocks().iter().zip((0..).map(BlockIndex)) {
        if store.contains(&place.id) {
            stored.insert(index);
        }
    }
    stored
}

fn unix_us(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
