//! The test image's Debian and its python3.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Bundle, DATE};
use crate::process;

/// Where apt keeps what it downloads: in the root file system only while python3 is installed.
const APT_STATE: [(&str, &str); 2] = [("var/lib/apt/lists", "lists"), ("var/cache/apt", "archives")];

/// What differs from run to run and belongs to no image: logs, what the build host left, caches of inode numbers.
const LEFTOVERS: [&str; 12] = [
    "etc/apt/apt.conf.d/99xtask",
    "etc/apt/sources.list.d/0000sources.list",
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/status-old",
    "var/log/alternatives.log",
    "var/log/apt",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
];

/// A minimal Debian, of the host's own release and from the host's own apt sources. python3's packages are
/// downloaded along with it, so that nothing needs the network in the chroot.
pub(super) fn debian(bundle: &Bundle) -> Result<()> {
    let sources = bundle.dir.join("sources.list");
    fs::write(&sources, apt_sources()?).context("cannot write the list of sources")?;
    let options = bundle.dir.join("99xtask");
    fs::write(&options, apt_options()?).context("cannot write apt's options")?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.env("SOURCE_DATE_EPOCH", DATE.to_string());
    mmdebstrap.args(["--quiet", "--mode=root", "--variant=minbase", "--format=directory"]);
    mmdebstrap.arg("--skip=cleanup/apt/lists,cleanup/apt/cache");
    mmdebstrap.arg(format!("--setup-hook=copy-in '{}' /etc/apt/apt.conf.d", options.display()));
    mmdebstrap.arg(concat!(
        r#"--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes --download-only "#,
        "--no-install-recommends install python3"
    ));
    process::run(mmdebstrap.arg(release()?).arg(bundle.rootfs()).arg(&sources))?;
    for (place, aside) in APT_STATE {
        move_away(&bundle.rootfs().join(place), &bundle.dir.join(aside))?;
    }
    remove_leftovers(&bundle.rootfs())
}

/// Installs python3 from what [`debian`] downloaded.
pub(super) fn python(bundle: &Bundle) -> Result<()> {
    for (place, aside) in APT_STATE {
        let place = bundle.rootfs().join(place);
        fs::remove_dir(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        rename(&bundle.dir.join(aside), &place)?;
    }
    let sources = bundle.rootfs().join("etc/apt/sources.list.d/0000sources.list");
    fs::copy(bundle.dir.join("sources.list"), sources).context("cannot copy the list of sources")?;
    let mut apt = bundle.chroot("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["-qq", "--yes", "--no-download", "--no-install-recommends", "install", "python3"]);
    process::stdout(&mut apt)?;
    for (place, aside) in APT_STATE {
        move_away(&bundle.rootfs().join(place), &bundle.dir.join(aside))?;
    }
    remove_leftovers(&bundle.rootfs())
}

/// The host's Debian sources, one a line.
fn apt_sources() -> Result<String> {
    let format = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let filter = ["Created-By: Packages", "Origin: Debian"];
    let listed =
        process::stdout(Command::new("apt-get").args(["indextargets", "--format", format]).args(filter))?;
    let mut lines: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    ensure!(!lines.is_empty(), "apt knows no Debian sources: is this Debian, and was apt-get update run?");
    Ok(lines.join("\n") + "\n")
}

/// How the host's apt reaches its sources: proxies, certificates, retries.
fn apt_options() -> Result<String> {
    let dump = process::stdout(Command::new("apt-config").arg("dump"))?;
    let prefixes = ["acquire::http::", "acquire::https::", "acquire::retries"];
    let is_access = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        prefixes.iter().any(|prefix| lower.starts_with(prefix))
    };
    Ok(dump.lines().filter(is_access).map(|line| format!("{line}\n")).collect())
}

/// The host's release, such as `bookworm`.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release of Debian")?.trim_matches('"').to_owned())
}

/// Moves a folder aside and leaves an empty one.
fn move_away(place: &Path, aside: &Path) -> Result<()> {
    rename(place, aside)?;
    fs::create_dir(place).with_context(|| format!("cannot create {}", place.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

fn remove_leftovers(rootfs: &Path) -> Result<()> {
    for leftover in LEFTOVERS {
        let path = rootfs.join(leftover);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
