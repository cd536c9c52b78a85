//! Running programs.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// Runs a program with this one's terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", Line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", Line(command));
    }
    Ok(())
}

/// Runs a program and returns what it printed on stdout; what it printed on stderr is part of the error.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run {}", Line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}\n{}", Line(command), String::from_utf8_lossy(&stderr).trim());
    }
    String::from_utf8(stdout).with_context(|| format!("{} printed something else than text", Line(command)))
}

/// Whether the program can be run with these arguments and succeeds.
pub(crate) fn works(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Cargo, as this program was started by it.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(crate::root());
    command
}

/// A command as one would type it, more or less.
struct Line<'a>(&'a Command);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}", self.0.get_program().display())?;
        for argument in self.0.get_args() {
            write!(f, " {}", argument.display())?;
        }
        f.write_str("`")
    }
}
