//! The proof that ft-core does not use std.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{heading, process, root};

/// Links ft-core into a static library with its own panic handler, which fails as soon as std is in it; and
/// checks that it does fail when a dependency uses std.
pub(crate) fn prove() -> Result<()> {
    heading("ft-core without std");
    let proof = root().join("ft-core/no-std-proof");
    // The versions that the product uses; cargo leaves out of the copy what the proof does not need.
    fs::copy(root().join("Cargo.lock"), proof.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    process::run(&mut build(&proof))?;

    println!("the same with a dependency that uses std, which must fail:");
    let control = build(&proof).args(["--features", "std-sneaks-in"]).output().context("cannot run cargo")?;
    let message = String::from_utf8_lossy(&control.stderr);
    ensure!(!control.status.success(), "the proof proves nothing: it builds with std as well");
    let reason = message.lines().find(|line| line.contains("duplicate lang item"));
    let Some(reason) = reason else { bail!("the negative control failed for another reason:\n{message}") };
    println!("{reason}");
    Ok(())
}

fn build(proof: &Path) -> Command {
    let mut command = process::cargo();
    command.current_dir(proof).args(["build", "--quiet"]);
    command.env("CARGO_TARGET_DIR", root().join("target/no-std-proof"));
    command
}
