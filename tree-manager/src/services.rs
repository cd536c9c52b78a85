//! The gRPC services: who may call, what the arguments mean, how the answer is put.

mod functions;
mod pool;
mod scheduler;
mod workers;

pub(crate) use functions::FunctionsService;
pub(crate) use pool::PoolService;
pub(crate) use scheduler::SchedulerService;
pub(crate) use workers::WorkersService;

use tonic::Status;

use crate::refusal::Refusal;

/// Runs a change to its end even if the caller goes away in the middle.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(change).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => {
            tracing::error!(%error, "a call panicked");
            Err(Status::internal("the call failed in the manager; its log says why"))
        }
    }
}
