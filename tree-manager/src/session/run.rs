//! A session's life.

use std::sync::Arc;

use ft_core::VmId;
use ft_proto::v1::{self, report};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{IN_FLIGHT, REGISTRATION_TIMEOUT, Session, receive, send};
use crate::core::Core;

/// What goes down to the worker.
pub(crate) type Commands = mpsc::Receiver<Result<v1::Command, Status>>;

/// Serves a worker's session until one side ends it. The commands come out of the receiver.
pub(crate) fn run(core: Arc<Core>, vm: VmId, reports: Streaming<v1::Report>) -> Commands {
    let (commands, receiver) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        if let Err(status) = serve(&core, vm, reports, &commands).await {
            tracing::info!(%vm, %status, "a worker's session ended");
            // The worker may be gone already.
            drop(commands.try_send(Err(status)));
        }
    });
    receiver
}

async fn serve(
    core: &Arc<Core>,
    vm: VmId,
    mut reports: Streaming<v1::Report>,
    commands: &mpsc::Sender<Result<v1::Command, Status>>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(REGISTRATION_TIMEOUT, reports.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no registration came"))??;
    let Some(report::Report::Registration(registration)) = first.and_then(|report| report.report) else {
        return Err(Status::invalid_argument("the first report must be a registration"));
    };
    let session = Arc::new(Session::new(vm, core.shutdown.child_token()));
    core.register(&session, vm, &registration)?;
    tracing::info!(%vm, name = registration.name, "a worker connected");
    let outcome = tokio::select! {
        outcome = receive::reports(core, &session, &mut reports) => outcome,
        outcome = send::commands(core, &session, commands) => outcome,
        () = session.ended.cancelled() => Err(Status::unavailable("the manager ended the session; connect again")),
    };
    session.end();
    session.clear();
    core.pool.disconnect(vm, &session);
    outcome
}
