//! The tests' realistic image, made without any hub: Debian, python3 on it, and numpy, scipy and pandas on that.
//!
//! Three layers as a builder would make them, with compiled Python files that are valid. The same packages give
//! the same files with the same times; what this run writes is dated [`DATE`].

mod rootfs;
mod wheels;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::{debian, heading, process, root};

pub(crate) use wheels::list as list_wheels;

/// Changes whenever the recipe does: an image of another recipe is made anew.
const RECIPE: &str = "1";
/// The date of everything that is made here, in seconds since 1970, and as text: 2025-01-01.
const DATE: u64 = 1_735_689_600;
const DATE_TEXT: &str = "2025-01-01T00:00:00Z";

/// Makes the image as the OCI layout `target/test-images/py` with the tag `v1`, unless it is there.
pub(crate) fn build() -> Result<()> {
    let images = root().join("target/test-images");
    let (layout, stamp) = (images.join("py"), images.join("py.recipe"));
    heading("the test image (Debian, python3, numpy, scipy, pandas)");
    if layout.exists() && fs::read_to_string(&stamp).is_ok_and(|recipe| recipe == RECIPE) {
        println!("{} is there", layout.display());
        return Ok(());
    }
    ensure!(debian::is_root(), "only root can make the test image: it needs a chroot");
    let start = Instant::now();
    let bundle = Bundle::create(&images.join("py.making"))?;
    rootfs::debian(&bundle)?;
    bundle.add_layer("Debian, minimal")?;
    rootfs::python(&bundle)?;
    bundle.add_layer("python3")?;
    wheels::install(&bundle)?;
    bundle.add_layer("numpy, scipy, pandas")?;
    bundle.finish(&layout)?;
    fs::write(&stamp, RECIPE).context("cannot write the recipe's stamp")?;
    println!("{} made in {:.0} s", layout.display(), start.elapsed().as_secs_f64());
    Ok(())
}

/// An image that is being made: umoci's bundle, whose root file system becomes layers.
struct Bundle {
    /// Everything that is thrown away at the end.
    dir: PathBuf,
    started: u64,
}

impl Bundle {
    /// Starts from nothing in `dir`, which is emptied.
    fn create(dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let bundle = Self { dir: dir.to_owned(), started };
        process::run(bundle.umoci("init").arg("--layout").arg(dir.join("layout")))?;
        process::run(bundle.umoci("new").arg("--image").arg(bundle.image()))?;
        process::run(bundle.umoci("unpack").arg("--image").arg(bundle.image()).arg(dir.join("bundle")))?;
        Ok(bundle)
    }

    /// The root file system.
    fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    fn image(&self) -> String {
        format!("{}:v1", self.dir.join("layout").display())
    }

    fn umoci(&self, command: &str) -> Command {
        let mut umoci = Command::new("umoci");
        umoci.arg(command);
        umoci
    }

    /// A command inside the root file system.
    fn chroot(&self, program: &str) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(self.rootfs()).arg(program);
        // Dates that programs write into files.
        chroot.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        chroot
    }

    /// Gives everything that was written since the start the date [`DATE`]. Files that came out of packages with
    /// a date keep it: the compiled Python files hold their sources' dates.
    fn set_dates(&self) -> Result<()> {
        let mut find = Command::new("find");
        find.arg(self.rootfs()).args(["-newermt", &format!("@{}", self.started)]);
        process::run(find.args(["-exec", "touch", "-h", "-d", &format!("@{DATE}"), "{}", "+"]))
    }

    /// Makes a layer of what changed in the root file system since the last one.
    fn add_layer(&self, what: &str) -> Result<()> {
        self.set_dates()?;
        let mut umoci = self.umoci("repack");
        umoci.arg("--refresh-bundle").arg("--image").arg(self.image());
        umoci.args(["--history.created", DATE_TEXT, "--history.created_by", what]);
        process::run(umoci.arg(self.dir.join("bundle")))?;
        println!("layer: {what}");
        Ok(())
    }

    /// Sets what the image runs, puts it in its place and removes everything else.
    fn finish(self, layout: &Path) -> Result<()> {
        let mut umoci = self.umoci("config");
        umoci.args(["--config.cmd", "python3", "--created", DATE_TEXT, "--no-history"]);
        umoci.args(["--config.env", "PATH=/usr/local/bin:/usr/bin:/bin", "--config.env", "LANG=C.UTF-8"]);
        process::run(umoci.arg("--image").arg(self.image()))?;
        let garbage = self.dir.join("layout");
        process::run(self.umoci("gc").arg("--layout").arg(&garbage))?;
        if layout.exists() {
            fs::remove_dir_all(layout).with_context(|| format!("cannot remove {}", layout.display()))?;
        }
        fs::rename(&garbage, layout).with_context(|| format!("cannot create {}", layout.display()))?;
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}
