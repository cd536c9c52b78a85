//! Trying again: jittered, exponential, within a budget.

use std::time::Duration;

use tokio::time::Instant;

/// How often and how long a transient error is met by trying again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Retries at most (0: never).
    pub retries: u32,
    /// The longest first pause; each following one may be twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// No retry begins later than this after the first attempt.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 4,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            budget: Duration::from_secs(30),
        }
    }
}

/// Errors that say whether trying again may help.
pub(crate) trait Transient {
    /// Whether the same request may well succeed a moment later.
    fn is_transient(&self) -> bool;
}

/// The retries of one transfer.
pub(crate) struct Backoff {
    policy: RetryPolicy,
    used: u32,
    started: Instant,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, used: 0, started: Instant::now() }
    }

    /// Waits before the next attempt, or gives the error back if there is to be none.
    pub(crate) async fn wait_after<E: Transient>(&mut self, error: E) -> Result<(), E> {
        let spent = self.used >= self.policy.retries || self.started.elapsed() >= self.policy.budget;
        if spent || !error.is_transient() {
            return Err(error);
        }
        let pause = self.policy.first_pause.saturating_mul(1 << self.used.min(16));
        let pause = pause.min(self.policy.longest_pause);
        self.used += 1;
        // Between a half and the whole, so that clients that failed together do not come back together.
        tokio::time::sleep(pause.mul_f64(0.5 + random_fraction() / 2.0)).await;
        Ok(())
    }
}

/// Tries until it works, the error is final, or the policy's budget is spent.
pub(crate) async fn retrying<T, E: Transient, F: Future<Output = Result<T, E>>>(
    policy: &RetryPolicy,
    attempt: impl Fn() -> F,
) -> Result<T, E> {
    let mut backoff = Backoff::new(policy.clone());
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => backoff.wait_after(error).await?,
        }
    }
}

/// A number in `0.0..1.0`; without a source of randomness always 0.5, which only costs the jitter.
fn random_fraction() -> f64 {
    match getrandom::u32() {
        Ok(random) => f64::from(random) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
