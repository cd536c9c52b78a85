//! Flags of the commands that make images or look into them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft seed docker://127.0.0.1:5000/py:v1 --name py
  ft seed oci:./layout:v1 --name py --check-http 8080/health
  ft seed dir:./rootfs --name hello -- /bin/hello
  ft seed tar:rootfs.tar.zst --name hello --origin docker://registry.example/functions/hello

Sources: docker://HOST/REPO:TAG, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], dir:DIR,
zip:FILE, tar:FILE (plain, gzip or zstd).")]
pub(crate) struct SeedArgs {
    /// What to convert.
    pub source: String,
    /// The function's name. A name that exists gets a new version.
    #[arg(long)]
    pub name: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    /// Where to publish: dir:DIR, https://HOST, docker://HOST/REPO; by default the origin beside the manager.
    #[arg(long, value_name = "ORIGIN", env = "FT_ORIGIN")]
    pub origin: Option<String>,
    #[command(flatten)]
    pub convert: ConvertArgs,
    /// The command to run instead of the image's.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

/// How to convert a source.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConvertArgs {
    /// An environment variable, KEY=VALUE, besides the image's own.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// The working directory.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Ready when this command (by /bin/sh) exits 0.
    #[arg(long, value_name = "COMMAND", group = "check")]
    pub check_exec: Option<String>,
    /// Ready when http://127.0.0.1:PORT/PATH answers with a status below 400.
    #[arg(long, value_name = "PORT/PATH", group = "check")]
    pub check_http: Option<String>,
    /// Ready when this TCP port accepts connections.
    #[arg(long, value_name = "PORT", group = "check")]
    pub check_tcp: Option<u16>,
    /// Speak plain HTTP to the registry (loopback registries may always be spoken to so).
    #[arg(long)]
    pub plain_http: bool,
    /// Registry credentials in the format of docker's config.json; by default docker's own file.
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
    /// Where to keep files while converting.
    #[arg(long, value_name = "DIR", env = "TMPDIR")]
    pub work_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Show segments, blocks and run configuration.
    Inspect(ImageArgs),
    /// Check every block and every directory.
    Verify(ImageArgs),
    /// Write an image's files to a directory.
    Materialize {
        #[command(flatten)]
        image: ImageArgs,
        /// Where to; must not exist or be empty.
        dest: PathBuf,
        /// Do not apply owners and devices (what a user who is not root can do).
        #[arg(long)]
        rootless: bool,
    },
}

/// Which image.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// A function (NAME or NAME@VERSION), or a SOURCE as in `ft seed`, which is converted on the spot.
    pub image: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    #[command(flatten)]
    pub convert: ConvertArgs,
}
