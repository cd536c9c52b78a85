//! The Debian packages that the tests need.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{heading, process};

/// A package, and what the tests use of it.
pub(crate) type Package = (&'static str, &'static str);

/// For the test image.
pub(crate) const IMAGE: &[Package] = &[
    ("mmdebstrap", "makes the test image's Debian"),
    ("python3", "runs scripts that judge results"),
    ("python3-pip", "fetches the test image's numpy, scipy and pandas"),
    ("umoci", "makes OCI layers, and unpacks them as a judge"),
];

/// For the tests themselves, beyond [`IMAGE`].
pub(crate) const TESTS: &[Package] = &[
    ("acl", "setfacl"),
    ("apache2-utils", "htpasswd, for the registry's users"),
    ("attr", "setfattr"),
    ("busybox-static", "what containers run"),
    ("docker-registry", "a real OCI registry, on loopback"),
    ("erofs-utils", "fsck.erofs as a judge, mkfs.erofs"),
    ("iproute2", "ip and tc, for hosts on rate-capped links"),
    ("libarchive-tools", "bsdtar, whose archives differ from GNU tar's"),
    ("libcap2-bin", "setcap"),
    ("python3-libtorrent", "BitTorrent, a rival of ft bench"),
    ("runc", "runs containers"),
    ("skopeo", "copies images"),
    ("util-linux", "nsenter"),
    ("zip", "zip archives"),
    ("zstd", "zstd layers"),
];

/// Lists the packages and installs those that are missing.
///
/// The host's own apt configuration says from where. No service is started on the way.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    heading("Debian packages that are needed");
    let missing: Vec<&str> =
        packages.iter().map(|(name, _)| *name).filter(|name| !is_installed(name)).collect();
    for (name, purpose) in packages {
        let state = if missing.contains(name) { "missing" } else { "installed" };
        println!("{name:<18} {state:<10} {purpose}");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !process::works("apt-get", &["--version"]) {
        bail!("this host has no apt-get; install what corresponds to Debian's packages {list}");
    }
    if !is_root() {
        bail!("only root can install packages; as root: apt-get install --no-install-recommends {list}");
    }
    println!("installing {list}");
    process::run(Command::new("sh").args(["-euc", include_str!("install.sh"), "install.sh"]).args(&missing))
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // Its own entry in /proc belongs to its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn is_installed(package: &str) -> bool {
    let query = ["-W", "-f=${db:Status-Status}", package];
    process::stdout(Command::new("dpkg-query").args(query)).is_ok_and(|status| status == "installed")
}
