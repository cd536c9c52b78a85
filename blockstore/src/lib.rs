//! Where the bytes of function images rest: the local block store, and the origins behind it.
//!
//! - [`BlockStore`] keeps compressed blocks by their BLAKE3 id, [`ImageCache`] the decompressed files that
//!   mounts are served from.
//! - [`Origin`] is where packs and manifests rest for good: a directory, an HTTP server or an OCI registry.
//! - [`oci`] is the one client of OCI registries; [`server`] serves a directory origin over HTTPS.
//!
//! The crate knows neither who wants a block nor why.

mod buffer;
pub mod codec;
mod image_cache;
mod name;
pub mod oci;
pub mod origin;
pub mod server;
mod source;
mod store;
mod transfer;
mod verify;

pub use buffer::BlockBuffer;
pub use image_cache::{ImageCache, ImageError};
pub use name::{InvalidRefName, RefName};
pub use origin::{
    ByteStream, DirOrigin, HttpOrigin, ImageObjects, Object, Origin, OriginContext, OriginError,
    RegistryOrigin, fetch_blocks, open_origin, read_object,
};
pub use source::BlobSource;
pub use store::{BlockStore, PinGuard, StoreError, StoreOptions};
pub use transfer::{RetryPolicy, TransferError, TransferLimits};
