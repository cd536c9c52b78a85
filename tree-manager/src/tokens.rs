//! Bearer tokens: what they are good for, and until when.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::state::record::{TokenRecord, TokenUse};
use crate::time::Now;

/// The tokens that were given out. They are found by the SHA-256 of their secret, so how long a search takes
/// says nothing about any secret.
#[derive(Debug)]
pub(crate) struct Tokens(RwLock<BTreeMap<[u8; 32], TokenRecord>>);

impl Tokens {
    pub(crate) fn restore(records: Vec<([u8; 32], TokenRecord)>) -> Self {
        Self(RwLock::new(records.into_iter().collect()))
    }

    /// Adds a token that is on disk.
    pub(crate) fn insert(&self, secret_sha256: [u8; 32], record: TokenRecord) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(secret_sha256, record);
    }

    /// What the token with this secret is good for, unless it has expired.
    pub(crate) fn find(&self, secret_sha256: &[u8; 32], now: Now) -> Option<TokenUse> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let record = tokens.get(secret_sha256)?;
        let valid = record.expires_unix.is_none_or(|expires| now.unix_seconds() < expires);
        valid.then(|| record.purpose.clone())
    }

    /// Takes out the tokens that have expired, for removal from the disk too.
    pub(crate) fn expire(&self, now: Now) -> Vec<[u8; 32]> {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let expired = |record: &TokenRecord| record.expires_unix.is_some_and(|at| at <= now.unix_seconds());
        let gone: Vec<_> = tokens.iter().filter(|(_, record)| expired(record)).map(|(key, _)| *key).collect();
        for key in &gone {
            tokens.remove(key);
        }
        gone
    }
}
