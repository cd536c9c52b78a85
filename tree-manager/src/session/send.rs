//! Commands to a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ft_proto::v1::{self, command};
use tokio::sync::mpsc;
use tonic::Status;

use super::queue::Next;
use super::{MAX_UNANSWERED, Session, Unanswered, Work};
use crate::core::Core;
use crate::ids::TreeKey;
use crate::trees::{ContainerCommand, ImageCommand};

/// Sends what is queued, for as long as the worker takes it.
pub(super) async fn commands(
    core: &Arc<Core>,
    session: &Session,
    sender: &mpsc::Sender<Result<v1::Command, Status>>,
) -> Result<(), Status> {
    loop {
        // Room first: what a command says is worked out when it can go.
        let room = match tokio::time::timeout(core.settings.command_timeout, sender.reserve()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Status::resource_exhausted("the worker takes no commands")),
        };
        let (command, about) = next(core, session).await;
        if session.unanswered().len() >= MAX_UNANSWERED {
            return Err(Status::resource_exhausted("the worker answers no commands"));
        }
        let id = core.next_command.fetch_add(1, Ordering::Relaxed);
        session.unanswered().insert(id, about);
        room.send(Ok(v1::Command { id, command: Some(command) }));
    }
}

async fn next(core: &Arc<Core>, session: &Session) -> (command::Command, Unanswered) {
    loop {
        let next = session.queue().pop();
        match next {
            None => session.wake.notified().await,
            Some(Next::Job(job)) => return (job.command, Unanswered::Job(job.done)),
            Some(Next::Work(work)) => {
                if let Some(command) = work_out(core, session, work) {
                    return command;
                }
            }
        }
    }
}

/// The command for something that was queued; none if there is nothing to say any more.
fn work_out(core: &Core, session: &Session, work: Work) -> Option<(command::Command, Unanswered)> {
    match work {
        Work::Image(key) => image(core, session, key),
        Work::Container(key, id) => {
            let cell = core.trees.get(&key)?;
            let command = cell.lock().container_command(id);
            match command {
                ContainerCommand::Start(start) => {
                    Some((command::Command::Start(start), Unanswered::Start(id)))
                }
                ContainerCommand::Stop(stop) => Some((command::Command::Stop(stop), Unanswered::Stop(id))),
                ContainerCommand::Nothing => None,
            }
        }
        Work::Stray(id) => {
            let stop = v1::StopContainer { container: id.to_string() };
            Some((command::Command::Stop(stop), Unanswered::Stop(id)))
        }
        Work::StrayImage(image) => {
            let leave = v1::LeaveImage { image: image.to_string() };
            let needed = core.pool.needs(session.vm, image);
            (!needed).then_some((command::Command::Leave(leave), Unanswered::Leave(image)))
        }
    }
}

fn image(core: &Core, session: &Session, key: TreeKey) -> Option<(command::Command, Unanswered)> {
    let command = match core.trees.get(&key) {
        Some(cell) => {
            let profile = core.profiles.get(&key);
            cell.lock().image_command(session.vm, profile.as_deref(), |vm| core.pool.endpoint(vm))
        }
        None => ImageCommand::Leave(v1::LeaveImage { image: key.image.to_string() }),
    };
    match command {
        ImageCommand::Follow(follow) => Some((command::Command::Follow(follow), Unanswered::Follow(key))),
        // Another tenant's tree of the same image may have come to this VM in the meantime.
        ImageCommand::Leave(leave) => (!core.pool.needs(session.vm, key.image))
            .then_some((command::Command::Leave(leave), Unanswered::Leave(key.image))),
        ImageCommand::Nothing => None,
    }
}
