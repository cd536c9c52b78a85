//! Waiting for a token bucket.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ft_core::BLOCK_SIZE;
use ft_core::relay::TokenBucket;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::clock::Clock;

/// Bytes that may go at once after a pause: two blocks, so that a timer that is late by some milliseconds costs
/// no rate.
const BURST: u64 = 2 * BLOCK_SIZE as u64;

/// A limit on a rate that many tasks share. What is urgent goes first; within a class, first come, first served.
pub(super) struct Throttle {
    clock: Clock,
    bucket: Mutex<TokenBucket>,
    limited: AtomicBool,
    /// Urgent takers that wait, or are about to take.
    urgent: AtomicUsize,
    /// Held by the first taker of each class.
    turns: [AsyncMutex<()>; 2],
    /// The limit has changed, or nothing is urgent any more.
    changed: Notify,
}

impl Throttle {
    /// A limit in bytes per second; 0: none.
    pub(super) fn new(clock: Clock, bytes_per_s: u64) -> Self {
        Self {
            clock,
            bucket: Mutex::new(TokenBucket::new(bytes_per_s, BURST)),
            limited: AtomicBool::new(bytes_per_s > 0),
            urgent: AtomicUsize::new(0),
            turns: Default::default(),
            changed: Notify::new(),
        }
    }

    /// Changes the limit; also for those who wait.
    pub(super) fn set(&self, bytes_per_s: u64) {
        self.lock().set_rate(self.clock.now(), bytes_per_s);
        self.limited.store(bytes_per_s > 0, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Acquire)
    }

    /// Waits until `bytes` may go. May be given up at any time.
    pub(super) async fn take(&self, urgent: bool, bytes: usize) {
        if !self.is_limited() {
            return;
        }
        let _urgent = urgent.then(|| Urgent::new(self));
        let _turn = self.turns[usize::from(urgent)].lock().await;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on, no change is missed.
            changed.as_mut().enable();
            let overtaken = !urgent && self.urgent.load(Ordering::Acquire) > 0;
            let at = match overtaken {
                true => None,
                false => match self.lock().take(self.clock.now(), bytes as u64) {
                    Ok(()) => return,
                    Err(at) => Some(at),
                },
            };
            tokio::select! {
                () = changed => {}
                () = self.clock.sleep_until(at) => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is not urgent from taking anything.
struct Urgent<'a>(&'a Throttle);

impl<'a> Urgent<'a> {
    fn new(throttle: &'a Throttle) -> Self {
        throttle.urgent.fetch_add(1, Ordering::AcqRel);
        Self(throttle)
    }
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        if self.0.urgent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    const KIB: usize = 1024;

    fn throttle(bytes_per_s: u64) -> Arc<Throttle> {
        Arc::new(Throttle::new(Clock::start(), bytes_per_s))
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_many_takers() {
        let throttle = throttle(1 << 20);
        let start = Instant::now();
        let takers = (0..8).map(|_| {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { throttle.take(false, 512 * KIB).await })
        });
        futures_util::future::join_all(takers).await;
        // 4 MiB, 1 MiB of them at once.
        let took = start.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_millis(3_100)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_urgent_overtakes_what_waits() {
        let throttle = throttle(1 << 20);
        throttle.take(false, 1024 * KIB).await;
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (name, urgent) in [("push 1", false), ("push 2", false), ("demand", true)] {
            let (throttle, done) = (Arc::clone(&throttle), done.clone());
            tokio::spawn(async move {
                throttle.take(urgent, 512 * KIB).await;
                done.send(name).unwrap();
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(order.recv().await, Some("demand"));
        assert_eq!(order.recv().await, Some("push 1"));
        assert_eq!(order.recv().await, Some("push 2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_holds_for_those_who_wait_and_one_who_gives_up_holds_up_nobody() {
        let throttle = throttle(1);
        throttle.take(false, 1024 * KIB).await;
        let gives_up = tokio::time::timeout(Duration::from_secs(1), throttle.take(true, 512 * KIB));
        assert!(gives_up.await.is_err());
        let waits = {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { throttle.take(false, 512 * KIB).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waits.is_finished());
        throttle.set(0);
        waits.await.unwrap();
        assert!(!throttle.is_limited());
    }
}
