//! The engine's time: since the driver started.

use std::time::Duration;

use ft_core::Instant;
use tokio::time::Instant as TokioInstant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: TokioInstant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: TokioInstant::now() }
    }

    pub(super) fn now(self) -> Instant {
        // 584 years fit.
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Sleeps until `at`; for ever without one.
    pub(super) async fn sleep_until(self, at: Option<Instant>) {
        match at {
            Some(at) => {
                tokio::time::sleep_until(self.start + Duration::from_nanos(at.as_nanos())).await;
            }
            None => std::future::pending().await,
        }
    }
}
