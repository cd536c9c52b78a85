//! Everything that is tested, from a host with nothing but a Rust toolchain.

use anyhow::Result;

use crate::{debian, heading, image, process, root};

/// Installs what is missing, builds what the tests need, and runs them.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    debian::install(&[debian::IMAGE, debian::TESTS].concat())?;
    heading("Python packages that are needed");
    image::list_wheels();
    image::build()?;
    heading("the ft binary that the end-to-end tests run");
    let target = root().join("target");
    process::run(
        process::cargo().args(["build", "--release", "--package", "ft"]).env("CARGO_TARGET_DIR", &target),
    )?;
    heading("tests");
    let mut command = process::cargo();
    command.arg("test").env("CARGO_TARGET_DIR", &target).env("FT_BIN", target.join("release/ft"));
    if arguments.is_empty() {
        command.args(["--workspace", "--no-fail-fast"]);
    }
    process::run(command.args(arguments))
}
