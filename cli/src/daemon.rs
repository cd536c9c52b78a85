//! What every daemon does first.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};
use crate::signal;

/// Listens for signals; with `die_with_parent`, ends gracefully when the process that started this one does.
pub(crate) fn begin(die_with_parent: bool) -> Result<CancellationToken, Failure> {
    let shutdown = signal::shutdown_token()?;
    if die_with_parent {
        let parent = getppid();
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
        // It may have died before the line above.
        if getppid() != parent {
            return Err(Failure::message(Kind::Failed, "the process that started this one is gone"));
        }
    }
    Ok(shutdown)
}
