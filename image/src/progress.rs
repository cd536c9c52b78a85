//! Telling the user how far a conversion is.

/// Receives what a conversion does, as it happens. Called often: return at once.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn report(&self, event: ProgressEvent<'_>);
}

/// One step of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressEvent<'a> {
    /// A layer's reading starts.
    LayerStarted {
        /// The layer's place, from 0.
        index: usize,
        /// How many layers there are.
        count: usize,
        /// The layer's name for people: its digest or file.
        label: &'a str,
        /// Its stored (compressed) size in bytes, where the source says.
        stored_bytes: Option<u64>,
    },
    /// So many more stored bytes of the current layer have been read.
    LayerRead {
        /// Bytes since the last report.
        bytes: u64,
    },
    /// The current layer is complete and verified.
    LayerDone,
    /// Objects of this many bytes in all are about to go into an origin.
    PublishStarted {
        /// Bytes of all objects.
        bytes: u64,
    },
    /// One object is in the origin.
    Published {
        /// Its bytes.
        bytes: u64,
        /// It did not have to be sent.
        was_there: bool,
    },
    /// So many more stored bytes of an image have been verified.
    Verified {
        /// Bytes since the last report.
        bytes: u64,
    },
}

/// Nobody is watching.
impl Progress for () {
    fn report(&self, _: ProgressEvent<'_>) {}
}
