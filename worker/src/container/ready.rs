//! Waiting until a container is ready.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Check, Container, NotReady, check};

/// A container without a check is ready when it has lived for this long.
const ALIVE: Duration = Duration::from_secs(1);
/// The pause behind the first check that fails. It doubles: quick containers are noticed within milliseconds,
/// slow ones not bothered.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn wait(
    container: &Container,
    check: Option<&Check>,
    deadline: Duration,
) -> Result<(), NotReady> {
    match check {
        None => exited_well_or_alive(container).await,
        Some(check) => tokio::select! {
            biased;
            exit = container.wait() => Err(NotReady::Ended(exit)),
            result = poll(container, check, deadline) => result,
        },
    }
}

async fn exited_well_or_alive(container: &Container) -> Result<(), NotReady> {
    let alive = ALIVE.saturating_sub(container.started_at().elapsed());
    tokio::select! {
        biased;
        exit = container.wait() => if exit.code == 0 { Ok(()) } else { Err(NotReady::Ended(exit)) },
        () = sleep(alive) => Ok(()),
    }
}

async fn poll(container: &Container, check: &Check, after: Duration) -> Result<(), NotReady> {
    let deadline = Instant::now() + after;
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match check::passes(container, check, left).await {
            Ok(()) => return Ok(()),
            // A check that the deadline cut short says less than the one before it.
            Err(_) if last.is_some() && Instant::now() >= deadline => {}
            Err(cause) => last = Some(cause),
        }
        let next = Instant::now() + pause;
        if next >= deadline {
            return Err(NotReady::Deadline { after, last: last.unwrap_or_default() });
        }
        sleep_until(next).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
