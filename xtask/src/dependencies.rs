//! What the dependencies may be: deny.toml, checked by cargo-deny.

use std::process::Command;

use anyhow::Result;

use crate::{heading, process, root};

/// The cargo-deny that deny.toml is written for.
const VERSION: &str = "0.20.2";

/// How long the advisory database may take to arrive.
const FETCH_SECONDS: &str = "120";

/// Checks the dependencies; the advisories only where their database can be reached.
pub(crate) fn check() -> Result<()> {
    if !process::works("cargo", &["deny", "--version"]) {
        heading("installing cargo-deny (once; some minutes)");
        let install = ["install", "--locked", "--quiet", "cargo-deny", "--version", VERSION];
        process::run(process::cargo().args(install))?;
    }
    heading("the dependencies' bans, licences and sources");
    process::run(process::cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    heading("the dependencies' advisories");
    let mut fetch = Command::new("timeout");
    fetch.args([FETCH_SECONDS, "cargo", "deny", "fetch", "db"]).current_dir(root());
    if let Err(error) = process::stdout(&mut fetch) {
        println!("NOT CHECKED: the advisory database could not be had: {error}");
        return Ok(());
    }
    process::run(process::cargo().args(["deny", "check", "--disable-fetch", "advisories"]))
}
