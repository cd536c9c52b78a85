//! Runs `ip` and `tc`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::rate::Rate;

/// Why a testbed could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be run.
    #[error("cannot run {program}: {source} (testbeds need root and Debian's iproute2 and util-linux)")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{command} failed: {message}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote to stderr.
        message: String,
    },
    /// More hosts than the network has addresses, or none.
    #[error("a testbed has 1 to {} hosts, not {asked}", crate::MAX_HOSTS)]
    HostCount {
        /// How many were asked for.
        asked: usize,
    },
    /// No host has this number.
    #[error("there is no host {nth}: the testbed has {hosts}")]
    NoHost {
        /// The number.
        nth: usize,
        /// How many there are.
        hosts: usize,
    },
    /// A thread could not join a host's network namespace.
    #[error("cannot enter the network namespace {namespace}: {source}")]
    Enter {
        /// The namespace.
        namespace: String,
        /// Why.
        source: std::io::Error,
    },
    /// A mount namespace could not be made, or nothing be mounted in it.
    #[error("cannot mount in a mount namespace of its own: {source} (testbeds need root)")]
    Mounts {
        /// Why.
        source: std::io::Error,
    },
    /// A counter is not a number.
    #[error("{path} holds {text:?}, not a number")]
    Counter {
        /// The counter's file.
        path: String,
        /// What it holds.
        text: String,
    },
}

/// Runs `ip` with these blank-separated arguments.
pub(crate) fn ip(arguments: &str) -> Result<(), Error> {
    output(Command::new("ip").args(arguments.split(' '))).map(drop)
}

/// Runs several `ip` commands inside a namespace at once.
pub(crate) fn ip_batch(namespace: &str, lines: &[String]) -> Result<(), Error> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-batch", "-"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run_error = |source| Error::Run { program: "ip".to_owned(), source };
    let mut child = command.spawn().map_err(run_error)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.join("\n").as_bytes()).map_err(run_error)?;
    }
    let output = child.wait_with_output().map_err(run_error)?;
    check(&command, output).map(drop)
}

/// Caps what an interface sends, or lifts the cap. A burst of 128 KB keeps `tbf` exact from 50 Mbit/s to 1 Gbit/s.
pub(crate) fn set_rate(namespace: &str, interface: &str, rate: Option<Rate>) -> Result<(), Error> {
    let arguments = match rate {
        Some(rate) => {
            format!(
                "-n {namespace} qdisc replace dev {interface} root tbf rate {rate} burst 128kb latency 50ms"
            )
        }
        None => format!("-n {namespace} qdisc replace dev {interface} root noqueue"),
    };
    output(Command::new("tc").args(arguments.split(' '))).map(drop)
}

/// What a command that succeeds writes to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Run { program, source })?;
    check(command, output)
}

fn check(command: &Command, output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { command: words.join(" "), message })
}
