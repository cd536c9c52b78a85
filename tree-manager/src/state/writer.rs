//! Writing: one thread, which commits everything that has come up since its last commit at once, so that
//! many callers share one fsync.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ft_core::{Digest, VmId};
use redb::{Database, ReadableTable as _, WriteTransaction};
use serde::Serialize;
use tokio::sync::oneshot;

use super::record::{ContainerRecord, FunctionKey, FunctionRecord, StartRecord, TokenRecord, VmRecord};
use super::{StateError, tables};
use crate::ids::{ContainerId, TreeKey};

/// The most requests in one commit.
const BATCH: usize = 256;

/// One change of the state.
#[derive(Debug)]
pub(crate) enum Write {
    /// The authority's certificate and key in PEM.
    Authority { certificate: String, key: String },
    /// A VM joined, has a new key, or drains.
    Vm(VmId, VmRecord),
    /// The number of the next VM to join is at least this.
    NextVm(u64),
    /// A VM is forgotten.
    ForgetVm(VmId),
    /// A token, by the SHA-256 of its secret.
    Token([u8; 32], TokenRecord),
    /// A token is good for nothing any more.
    ForgetToken([u8; 32]),
    /// A new version of a function, with its encoded manifest.
    Function(FunctionKey, FunctionRecord, Vec<u8>),
    /// A function's version is gone.
    ForgetFunction(FunctionKey),
    /// The manifest of this image is not needed, unless a function has come to have it in the meantime.
    ForgetManifest(Digest),
    /// A container should run.
    Container(ContainerId, ContainerRecord),
    /// A container should not run, or has ended.
    ForgetContainer(ContainerId),
    /// What the last cold starts of an image read.
    Starts(TreeKey, Vec<StartRecord>),
    /// No function has the image any more.
    ForgetStarts(TreeKey),
}

struct Request {
    changes: Vec<Write>,
    done: Option<oneshot::Sender<Result<(), StateError>>>,
}

/// The handle of the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("ft-state".into()).spawn(move || run(&database, &receiver))?;
        Ok(Self { requests: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn write(&self, changes: Vec<Write>) -> Result<(), StateError> {
        let (done, outcome) = oneshot::channel();
        self.send(Request { changes, done: Some(done) })?;
        outcome.await.map_err(|_| StateError::Closed)?
    }

    pub(super) fn write_later(&self, changes: Vec<Write>) {
        if let Err(error) = self.send(Request { changes, done: None }) {
            tracing::debug!(%error, "a change of the state was not written");
        }
    }

    fn send(&self, request: Request) -> Result<(), StateError> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.as_ref().and_then(|sender| sender.send(request).ok()).ok_or(StateError::Closed)
    }

    pub(super) async fn close(&self) {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && tokio::task::spawn_blocking(|| thread.join()).await.is_err()
        {
            tracing::error!("the state's writing thread panicked");
        }
    }
}

fn run(database: &Database, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(request) = requests.try_recv()
        {
            batch.push(request);
        }
        let outcome = commit(database, &batch);
        if let Err(error) = &outcome {
            tracing::error!(%error, "the state cannot be written");
        }
        for done in batch.into_iter().filter_map(|request| request.done) {
            let outcome = outcome.as_ref().map_err(|error| StateError::Database(error.to_string()));
            // Whoever asked may have gone away.
            drop(done.send(outcome.copied()));
        }
    }
}

fn commit(database: &Database, batch: &[Request]) -> Result<(), StateError> {
    let transaction = database.begin_write().map_err(StateError::database)?;
    for change in batch.iter().flat_map(|request| &request.changes) {
        apply(&transaction, change)?;
    }
    transaction.commit().map_err(StateError::database)
}

fn apply(transaction: &WriteTransaction, change: &Write) -> Result<(), StateError> {
    match change {
        Write::Authority { certificate, key } => authority(transaction, certificate, key),
        Write::NextVm(number) => next_vm(transaction, *number),
        Write::Vm(vm, record) => insert(transaction, tables::VMS, vm.0, json(record)?.as_slice()),
        Write::ForgetVm(vm) => remove(transaction, tables::VMS, vm.0),
        Write::Token(secret, record) => insert(transaction, tables::TOKENS, secret, json(record)?.as_slice()),
        Write::ForgetToken(secret) => remove(transaction, tables::TOKENS, secret),
        Write::Function(key, record, manifest) => {
            let name = (key.tenant.as_str(), key.name.as_str());
            insert(transaction, tables::VERSIONS, name, key.version)?;
            insert(transaction, tables::FUNCTIONS, (name.0, name.1, key.version), json(record)?.as_slice())?;
            insert(transaction, tables::MANIFESTS, record.image.as_bytes(), manifest.as_slice())
        }
        Write::ForgetFunction(key) => {
            remove(transaction, tables::FUNCTIONS, (key.tenant.as_str(), key.name.as_str(), key.version))
        }
        Write::ForgetManifest(image) => forget_manifest(transaction, *image),
        Write::Container(id, record) => {
            insert(transaction, tables::CONTAINERS, (id.term, id.number), json(record)?.as_slice())
        }
        Write::ForgetContainer(id) => remove(transaction, tables::CONTAINERS, (id.term, id.number)),
        Write::Starts(key, starts) => {
            let key = (&*key.tenant, key.image.as_bytes());
            insert(transaction, tables::STARTS, key, json(starts)?.as_slice())
        }
        Write::ForgetStarts(key) => remove(transaction, tables::STARTS, (&*key.tenant, key.image.as_bytes())),
    }
}

/// Joins may become durable in another order than they got their numbers.
fn next_vm(transaction: &WriteTransaction, number: u64) -> Result<(), StateError> {
    let mut table = transaction.open_table(tables::COUNTERS).map_err(StateError::database)?;
    let before = table.get("next_vm").map_err(StateError::database)?.map_or(0, |value| value.value());
    table.insert("next_vm", before.max(number)).map_err(StateError::database)?;
    Ok(())
}

/// Whether a function needs the manifest is decided here, where changes have one order.
fn forget_manifest(transaction: &WriteTransaction, image: Digest) -> Result<(), StateError> {
    let functions = transaction.open_table(tables::FUNCTIONS).map_err(StateError::database)?;
    for entry in functions.iter().map_err(StateError::database)? {
        let (_, value) = entry.map_err(StateError::database)?;
        let record: FunctionRecord = serde_json::from_slice(value.value()).map_err(StateError::database)?;
        if record.image == image {
            return Ok(());
        }
    }
    remove(transaction, tables::MANIFESTS, image.as_bytes())
}

fn authority(transaction: &WriteTransaction, certificate: &str, key: &str) -> Result<(), StateError> {
    insert(transaction, tables::AUTHORITY, "certificate", certificate)?;
    insert(transaction, tables::AUTHORITY, "key", key)
}

fn json<T: Serialize>(record: &T) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(record).map_err(StateError::database)
}

fn insert<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    table: redb::TableDefinition<'static, K, V>,
    key: K::SelfType<'_>,
    value: V::SelfType<'_>,
) -> Result<(), StateError> {
    let mut table = transaction.open_table(table).map_err(StateError::database)?;
    table.insert(key, value).map_err(StateError::database)?;
    Ok(())
}

fn remove<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    table: redb::TableDefinition<'static, K, V>,
    key: K::SelfType<'_>,
) -> Result<(), StateError> {
    let mut table = transaction.open_table(table).map_err(StateError::database)?;
    table.remove(key).map_err(StateError::database)?;
    Ok(())
}
