//! The test image's Python packages.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::Bundle;
use crate::process;

/// All of them, so that pip has nothing to choose.
const WHEELS: [&str; 7] = [
    "numpy==2.2.6",
    "scipy==1.15.3",
    "pandas==2.2.3",
    "python-dateutil==2.9.0.post0",
    "pytz==2025.2",
    "tzdata==2025.2",
    "six==1.17.0",
];
/// The ages of C libraries that the wheels may ask for; Debian 12's is younger.
const MANYLINUX: [&str; 4] = ["manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"];

/// Lists the packages.
pub(crate) fn list() {
    for wheel in WHEELS {
        println!("{wheel:<29} in the test image below target/, not on this host");
    }
}

/// Installs the packages with the host's pip, as its configuration says, and compiles them with the image's Python.
pub(super) fn install(bundle: &Bundle) -> Result<()> {
    let version = bundle.python("import sys; print('%d.%d' % sys.version_info[:2])")?;
    let folder = format!("usr/local/lib/python{version}/dist-packages");
    let mut pip = Command::new(python_with_pip()?);
    pip.args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore"]);
    pip.args(["--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=cp"]);
    pip.arg(format!("--python-version={version}")).arg(format!("--abi=cp{}", version.replace('.', "")));
    for libc in MANYLINUX {
        pip.arg(format!("--platform={libc}_{}", std::env::consts::ARCH));
    }
    process::run(pip.arg("--target").arg(bundle.rootfs().join(&folder)).args(WHEELS))?;
    // The compiled files hold the sources' dates.
    bundle.set_dates()?;
    let mut compile = bundle.chroot("python3");
    compile.env("PYTHONHASHSEED", "0").args(["-m", "compileall", "-q", "-j0"]);
    process::run(compile.arg(format!("/{folder}")))
}

impl Bundle {
    /// What a line of Python prints in the image.
    fn python(&self, line: &str) -> Result<String> {
        let printed = process::stdout(self.chroot("python3").args(["-c", line]))?;
        Ok(printed.trim().to_owned())
    }
}

/// The user's python3 if it has pip; otherwise Debian's.
fn python_with_pip() -> Result<&'static str> {
    let has_pip = |python: &&str| process::works(python, &["-m", "pip", "--version"]);
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_pip)
        .context("no python3 on this host has pip (Debian's python3-pip)")
}
