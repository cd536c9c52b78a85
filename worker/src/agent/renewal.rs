//! Keeps the worker's certificate fresh.

use std::time::{Duration, SystemTime};

use super::Agent;
use super::backoff::Backoff;

/// Longest sleep before the clock is looked at again: it may be set, or the host suspended.
const LOOK: Duration = Duration::from_secs(60);

impl Agent {
    /// Renews the certificate when two thirds of its life are over. Peers and the manager see the new one from
    /// their next connection on.
    pub(super) async fn keep_identity(&self) {
        let mut backoff = Backoff::new();
        loop {
            let left = self.membership.renew_at().duration_since(SystemTime::now()).unwrap_or_default();
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            match self.membership.renew().await {
                Ok(()) => {
                    tracing::info!(vm = %self.vm, "renewed this worker's certificate");
                    backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot renew this worker's certificate yet");
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }
}
