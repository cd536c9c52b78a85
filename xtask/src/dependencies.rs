//! What the dependencies may be: deny.toml, checked by cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{heading, process, root};

/// The cargo-deny that deny.toml is written for.
const VERSION: &str = "0.20.2";
/// How long the advisory database may take to arrive.
const FETCH_SECONDS: &str = "120";

/// Checks the dependencies; the advisories only where their database can be reached.
pub(crate) fn check() -> Result<()> {
    let deny = cargo_deny()?;
    heading("the dependencies' bans, licences and sources");
    process::run(Command::new(&deny).args(["check", "bans", "licenses", "sources"]).current_dir(root()))?;
    heading("the dependencies' advisories");
    let mut fetch = Command::new("timeout");
    fetch.arg(FETCH_SECONDS).arg(&deny).args(["fetch", "db"]).current_dir(root());
    if let Err(error) = process::stdout(&mut fetch) {
        println!("NOT CHECKED: the advisory database could not be had: {error}");
        return Ok(());
    }
    process::run(Command::new(&deny).args(["check", "--disable-fetch", "advisories"]).current_dir(root()))
}

/// The user's cargo-deny, or one below `target/`, which is built if it is not there.
fn cargo_deny() -> Result<PathBuf> {
    if process::works("cargo-deny", &["--version"]) {
        return Ok("cargo-deny".into());
    }
    let tools = root().join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    if !process::works(&deny, &["--version"]) {
        heading("installing cargo-deny below target/ (once; a minute or two)");
        // Without optimisation it is built in half the time and still checks in seconds.
        let install = ["install", "--locked", "--debug", "--quiet", "cargo-deny", "--version", VERSION];
        process::run(process::cargo().args(install).arg("--root").arg(&tools))?;
    }
    Ok(deny)
}
