//! Errors that end the program: cause, next step, exit code.

use std::process::ExitCode;

use crate::args::Global;
use crate::output::Format;

/// What kind of failure it is; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Whoever read stdout has seen enough; that is no failure to speak of.
    NobodyReads = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    NotAllowed = 4,
    Unreachable = 5,
    Integrity = 6,
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
    next_step: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: error.into(), next_step: None }
    }

    /// A failure of `kind` with this message.
    pub(crate) fn message(kind: Kind, message: impl Into<String>) -> Self {
        Self::new(kind, anyhow::Error::msg(message.into()))
    }

    /// What the user can do about it.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// What was being done, in front of the cause.
    pub(crate) fn context(mut self, doing: impl std::fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(doing);
        self
    }

    /// Tells the user, on stderr (and as an object if JSON was asked for), and gives the exit code.
    pub(crate) fn report(&self, global: &Global) -> ExitCode {
        if self.kind == Kind::NobodyReads {
            return ExitCode::SUCCESS;
        }
        let cause = causes(&self.error);
        if global.output == Format::Json {
            let object = serde_json::json!({
                "error": cause,
                "kind": format!("{:?}", self.kind),
                "exit_code": self.kind as u8,
                "next_step": self.next_step,
            });
            eprintln!("{object}");
        } else {
            eprintln!("error: {cause}");
            if let Some(step) = &self.next_step {
                eprintln!("  next: {step}");
            }
        }
        ExitCode::from(self.kind as u8)
    }
}

/// The error and its causes, but none that the text before it ends with: some errors tell their causes themselves.
fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.ends_with(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Kind::Failed, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        if is_broken_connection(&status) {
            return Self::message(Kind::Unreachable, "the connection to the manager broke")
                .next("what was begun goes on; see how far with: ft ps");
        }
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Kind::NotAllowed,
            Code::Unavailable | Code::DeadlineExceeded => Kind::Unreachable,
            Code::DataLoss => Kind::Integrity,
            Code::InvalidArgument => Kind::Usage,
            _ => Kind::Failed,
        };
        let message = match status.message() {
            "" => format!("the manager answered {:?}", status.code()),
            message => message.to_owned(),
        };
        Self::message(kind, message)
    }
}

/// Whether a call ended because the manager went away, not because of what it answered.
fn is_broken_connection(status: &tonic::Status) -> bool {
    // What the manager itself says has no source.
    status.code() == tonic::Code::Unknown && std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_repeated() {
        let error = anyhow::anyhow!("disk full").context("cannot write: disk full").context("seeding");
        assert_eq!(causes(&error), "seeding: cannot write: disk full");
    }

    #[test]
    fn a_broken_connection_is_told_apart_from_an_answer() {
        let broken = tonic::Status::from_error(Box::new(std::io::Error::other("eof")));
        assert_eq!(Failure::from(broken).kind, Kind::Unreachable);
        assert_eq!(Failure::from(tonic::Status::unknown("what?")).kind, Kind::Failed);
    }
}
