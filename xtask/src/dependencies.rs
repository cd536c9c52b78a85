//! What the dependencies may be: deny.toml, checked by cargo-deny.

use anyhow::Result;

use crate::{heading, process};

/// The cargo-deny that deny.toml is written for.
const VERSION: &str = "0.20.2";

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
    if process::run(process::cargo().args(["deny", "fetch", "db"])).is_err() {
        println!("NOT CHECKED: the advisory database could not be reached");
        return Ok(());
    }
    process::run(process::cargo().args(["deny", "check", "--disable-fetch", "advisories"]))
}
