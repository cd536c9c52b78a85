//! Reports from a worker.

use std::sync::Arc;

use ft_proto::v1::{self, report};
use tonic::{Status, Streaming};

use super::{Session, Unanswered, Work};
use crate::core::Core;
use crate::ids::ContainerId;
use crate::time::Now;
use crate::trees::Stage;

/// Takes reports in until the worker closes the stream.
pub(super) async fn reports(
    core: &Arc<Core>,
    session: &Arc<Session>,
    reports: &mut Streaming<v1::Report>,
) -> Result<(), Status> {
    while let Some(report) = reports.message().await? {
        let now = Now::read();
        let beat = match &report.report {
            Some(report::Report::Heartbeat(beat)) => Some(beat),
            _ => None,
        };
        // Whatever it says, it lives.
        core.pool.hear(session.vm, session, beat, now);
        match report.report {
            Some(report::Report::Container(report)) => container(core, session, report, now)?,
            Some(report::Report::Result(result)) => answered(core, session, result, now),
            Some(report::Report::PeerLost(lost)) => {
                tracing::info!(vm = %session.vm, peer = lost.vm, cause = lost.cause, "a worker lost a peer");
                core.peer_lost(session.vm, &lost.image, &lost.vm, now);
            }
            Some(report::Report::PeerStuck(stuck)) => {
                tracing::warn!(vm = %session.vm, peer = stuck.vm, "a VM takes nothing from its parent");
                core.peer_stuck(session.vm, &stuck.image, &stuck.vm, now);
            }
            Some(report::Report::StartProfile(start)) => core.start_profile(session.vm, &start, now),
            Some(report::Report::Registration(_)) => {
                return Err(Status::invalid_argument("a session has one registration"));
            }
            Some(report::Report::Leaving(_)) => {
                core.leave(session.vm, session, now);
                return Ok(());
            }
            Some(report::Report::Heartbeat(beat)) => core.note_upload(session.vm, &beat, now),
            None => {}
        }
    }
    Ok(())
}

fn container(core: &Core, session: &Session, report: v1::ContainerReport, now: Now) -> Result<(), Status> {
    let id: ContainerId = crate::refusal::argument("container", &report.container)?;
    let stage = Stage::reported(report);
    match core.trees.of_container(id) {
        Some(cell) => core.change(&cell, |tree| tree.reported(session.vm, id, stage, now)),
        None if !stage.is_end() => session.push(Work::Stray(id)),
        None => {}
    }
    Ok(())
}

/// A command was carried out, or not.
fn answered(core: &Core, session: &Arc<Session>, result: v1::CommandResult, now: Now) {
    let Some(about) = session.unanswered().remove(&result.command) else { return };
    let error = result.error.as_str();
    match about {
        Unanswered::Follow(key) => {
            let Some(cell) = core.trees.get(&key) else { return };
            core.change(&cell, |tree| {
                if error.is_empty() {
                    tree.followed(session.vm, now)
                } else {
                    tree.refused(session.vm, error, now)
                }
            });
        }
        Unanswered::Start(id) => {
            let Some(cell) = core.trees.of_container(id) else { return };
            core.change(&cell, |tree| tree.start_answered(id, error, now));
        }
        Unanswered::Stop(id) => {
            let Some(cell) = core.trees.of_container(id) else { return };
            core.change(&cell, |tree| tree.stop_answered(session.vm, id, error, now));
        }
        // Whoever asked may have given up.
        Unanswered::Job(done) => drop(done.send(result)),
        Unanswered::Leave(image) if !error.is_empty() => {
            // Most likely a container that is stopping still uses it.
            tracing::debug!(vm = %session.vm, %image, error, "a worker cannot leave an image yet");
            session.leave_again(image);
        }
        Unanswered::Leave(_) => {}
    }
}
