//! Choosing a runtime.

use std::path::Path;
use std::sync::Arc;

use super::{ContainerError, Helper, HostProbe, Runc, RuncOptions, Runtime, Sandbox, SandboxOptions};

/// Which runtime to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// runc where it works, the sandbox otherwise.
    #[default]
    Auto,
    /// runc.
    Runc,
    /// The built-in sandbox.
    Sandbox,
}

/// Makes the chosen runtime, which keeps its state below `state_dir`.
///
/// # Errors
/// When the chosen one cannot work here: runc without root or without its program, the sandbox without root and
/// without user namespaces.
pub fn choose(
    choice: RuntimeChoice,
    host: &HostProbe,
    state_dir: &Path,
    helper: Helper,
) -> Result<Arc<dyn Runtime>, ContainerError> {
    let runc = || -> Result<Arc<dyn Runtime>, ContainerError> {
        if !host.root {
            return Err(ContainerError::NoRuntime("runc needs root here; use the sandbox".to_owned()));
        }
        let options = RuncOptions { helper: helper.clone(), ..RuncOptions::new(state_dir.join("runc")) };
        Ok(Arc::new(Runc::new(options)?))
    };
    let sandbox = || -> Result<Arc<dyn Runtime>, ContainerError> {
        if !host.root && !host.user_namespaces {
            return Err(ContainerError::NoRuntime(
                "neither root nor user namespaces are available; see `ft doctor`".to_owned(),
            ));
        }
        let options =
            SandboxOptions { helper: helper.clone(), ..SandboxOptions::new(state_dir.join("sandbox")) };
        Ok(Arc::new(Sandbox::new(options)))
    };
    match choice {
        RuntimeChoice::Runc => runc(),
        RuntimeChoice::Sandbox => sandbox(),
        RuntimeChoice::Auto if host.root && host.runc.is_some() => runc(),
        RuntimeChoice::Auto => sandbox(),
    }
}
