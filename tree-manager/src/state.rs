//! What the manager must not forget: one redb file, read once at the start.
//!
//! From then on the memory is what counts and the file follows: every change is on disk before anybody is
//! told of it ([`Store::write`]). What workers run is not in here, only what they *should* run; the rest is
//! learnt from them again.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ft_core::Digest;
use redb::{Database, ReadableDatabase as _};

pub(crate) mod load;
pub(crate) mod record;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use load::Loaded;
pub(crate) use writer::Write;

/// The version of the file's format. A manager refuses a file of another one.
pub(crate) const FORMAT: u64 = 1;
const FILE: &str = "manager.redb";

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another manager has the file open.
    #[error("{} is in use: is another manager running?", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A manager of another version wrote the file.
    #[error(
        "the state has format {found}, this manager reads format {FORMAT}: use the manager that wrote it"
    )]
    Format {
        /// The format in the file.
        found: u64,
    },
    /// A record makes no sense.
    #[error("the state's {table} record {key} is damaged: {cause}")]
    Damaged {
        /// Where it is.
        table: String,
        /// Which one it is.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The database failed.
    #[error("the state cannot be read or written: {0}")]
    Database(String),
    /// The manager is shutting down.
    #[error("the manager is shutting down")]
    Closed,
}

impl StateError {
    /// For `map_err`: every error of the database comes down to its text.
    fn database<E: std::fmt::Display>(error: E) -> Self {
        Self::Database(error.to_string())
    }
}

/// The open state.
#[derive(Debug)]
pub(crate) struct Store {
    /// None after [`close`](Self::close).
    database: RwLock<Option<Arc<Database>>>,
    writer: writer::Writer,
}

impl Store {
    /// Opens or creates the state in `dir`, begins a new term, and reads everything.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Loaded), StateError> {
        let path = dir.join(FILE);
        let failed = |source| StateError::File { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        // Created first, since the authority's private key is in it.
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        let database = match Database::create(&path) {
            Ok(database) => Arc::new(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(StateError::InUse { path }),
            Err(error) => return Err(StateError::database(error)),
        };
        let loaded = load::begin_term(&database)?;
        let writer = writer::Writer::start(Arc::clone(&database)).map_err(failed)?;
        Ok((Self { database: RwLock::new(Some(database)), writer }, loaded))
    }

    /// Makes changes durable, all or none of them, in the order of the calls.
    pub(crate) async fn write(&self, changes: Vec<Write>) -> Result<(), StateError> {
        self.writer.write(changes).await
    }

    /// As [`write`](Self::write), for changes that nobody waits for: a failure is logged.
    pub(crate) fn write_later(&self, changes: Vec<Write>) {
        self.writer.write_later(changes);
    }

    /// An image's encoded manifest.
    pub(crate) async fn manifest(&self, image: Digest) -> Result<Option<Vec<u8>>, StateError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner).clone();
        let database = database.ok_or(StateError::Closed)?;
        let read = move || -> Result<Option<Vec<u8>>, StateError> {
            let transaction = database.begin_read().map_err(StateError::database)?;
            let table = transaction.open_table(tables::MANIFESTS).map_err(StateError::database)?;
            let value = table.get(image.as_bytes()).map_err(StateError::database)?;
            Ok(value.map(|value| value.value().to_vec()))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| StateError::Closed)?
    }

    /// Waits until everything is on disk, and closes the file, so that another manager can open it.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}
