//! Containers: running a function's process in a root file system.
//!
//! Two runtimes behind one trait. [`Runc`] drives the `runc` program; [`Sandbox`] needs no program and no root:
//! it starts this very binary again as `ft __sandbox …` ([`sandbox_main`]), which builds the namespaces. Both
//! give the same container: own mount, pid, ipc, uts and (unless asked otherwise) network namespaces with the
//! loopback interface up, no new privileges, a small set of capabilities, `/proc`, `/sys` and a minimal `/dev`,
//! and its output in a bounded file.
//!
//! A [`Container`] dies with whoever holds it: dropping it kills it, and a sandbox also ends when its worker
//! does, however that dies. Containers that runc ran for a killed worker are removed by [`Runtime::clean`].

mod cgroup;
mod check;
mod choose;
mod error;
mod exec;
mod handle;
mod helper;
mod limits;
mod output;
mod probe;
mod ready;
mod run_config;
mod runc;
mod sandbox;
mod spec;

pub use choose::{RuntimeChoice, choose};
pub use error::{ContainerError, NotReady};
pub use exec::{ExecOutput, ExecSpec};
pub use handle::{Container, Exit};
pub use helper::Helper;
pub use output::OUTPUT_LIMIT;
pub use probe::{Finding, HostProbe, State, probe};
pub use run_config::{Check, RunConfig, RunConfigError, User};
pub use runc::{Runc, RuncOptions};
pub use sandbox::{Sandbox, SandboxOptions, sandbox_main};
pub use spec::{Network, Spec};

use futures_util::future::BoxFuture;

/// Something that runs containers.
pub trait Runtime: Send + Sync {
    /// Its name, as `--runtime` takes it.
    fn name(&self) -> &'static str;

    /// Starts a container and returns once its process runs.
    ///
    /// # Errors
    /// When the specification is invalid or the process cannot be started; nothing is left behind then.
    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Container, ContainerError>>;

    /// Removes what a killed worker left behind, and says how many containers that were. To be called before the
    /// first start.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn clean(&self) -> BoxFuture<'_, Result<usize, ContainerError>>;
}
