//! Running other programs, and ours.

use std::path::Path;
use std::process::{Command, Output};

use ft_image::builder::{BuildOptions, Converted};
use ft_image::config::RunOverrides;
use ft_image::source::OpenOptions;
use ft_image::{ConvertOptions, Error, Source, convert};

/// Runs a shell script in `dir`; it stops at the first error. Its standard output.
pub(crate) fn sh(dir: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(dir).env("LC_ALL", "C.UTF-8");
    let Output { status, stdout, stderr } = command.output().expect("there is a shell");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}\n{said}\n(`cargo xtask test` installs the tools that are needed)");
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

/// Converts a source, with packs below `work`.
pub(crate) fn converted(source: &str, work: &Path) -> Converted {
    convert_with(source, OpenOptions::default(), work).unwrap_or_else(|e| panic!("{source}: {e}"))
}

/// Converts a source as a program would: from a blocking thread of a tokio runtime.
pub(crate) fn convert_with(source: &str, open: OpenOptions, work: &Path) -> Result<Converted, Error> {
    let source = Source::parse(source)?;
    let options =
        ConvertOptions { source, open, build: BuildOptions::new(work), run: RunOverrides::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { tokio::task::spawn_blocking(move || convert(options, &())).await.unwrap() })
}
