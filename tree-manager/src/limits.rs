//! Limits of a VM's traffic, changed while its worker runs.

use std::time::Duration;

use ft_core::VmId;
use ft_proto::v1::{self, command};
use tokio::sync::oneshot;

use crate::core::Core;
use crate::refusal::Refusal;
use crate::session::Job;

/// How long a worker may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

impl Core {
    /// Limits a VM's traffic; done when its worker has said so. Holds until the worker is started anew.
    pub(crate) async fn set_limits(&self, vm: VmId, limits: v1::VmLimits) -> Result<(), Refusal> {
        self.pool.record(vm).ok_or(Refusal::NoVm(vm))?;
        let command = command::Command::SetLimits(v1::SetLimits { limits: Some(limits) });
        let result = self.ask(vm, command, ANSWER).await?;
        if !result.error.is_empty() {
            return Err(Refusal::CommandFailed(result.error));
        }
        self.note_limits(vm, limits);
        tracing::info!(%vm, ?limits, "limits were set");
        Ok(())
    }

    /// Sends a worker a command, behind what waits for it already, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        vm: VmId,
        command: command::Command,
        patience: Duration,
    ) -> Result<v1::CommandResult, Refusal> {
        let session = self.pool.session(vm).ok_or(Refusal::Disconnected(vm))?;
        let (done, result) = oneshot::channel();
        session.ask(Job { command, done })?;
        let result = tokio::select! {
            result = tokio::time::timeout(patience, result) => result,
            () = self.shutdown.cancelled() => return Err(Refusal::ShuttingDown),
        };
        // The sender is dropped when the session ends.
        result.map_err(|_| Refusal::Late(patience))?.map_err(|_| Refusal::Disconnected(vm))
    }
}
