//! A function image made on the spot from this host's own files, so that the demo needs no network.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use walkdir::WalkDir;

/// A smaller image would show little of a distribution network.
const MIN_BYTES: u64 = 100_000_000;

/// Prints the interpreter's own path and its standard library's, one per line.
const PROBE: &str = "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); \
                     print(os.path.realpath(sysconfig.get_path('stdlib')))";

/// The runtime: imports much of the standard library, then answers each request with a digest of what was
/// imported, which is the same on every VM if the images are.
const RUNTIME: &str = "import asyncio, ctypes, decimal, email, hashlib, http.server, json, logging, sys, unittest, xml.dom.minidom
def function():
    digest = hashlib.sha256()
    for name in sorted(sys.modules):
        path = getattr(sys.modules[name], '__file__', None)
        if path:
            with open(path, 'rb') as file:
                digest.update(file.read())
    return {'python': sys.version.split()[0], 'modules': len(sys.modules), 'sha256': digest.hexdigest()}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(function()).encode() if self.path == '/invoke' else b'ok'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(('127.0.0.1', 8080), Handler).serve_forever()";

/// Asks the runtime to run the function, and prints what it answers.
const INVOKE: &str = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/invoke', timeout=60).read().decode())";

/// A directory that holds an image's files, and the command to run in it.
pub(super) struct Rootfs {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    /// As in `ft seed --check-http`; without, a container is ready when its command has exited 0.
    pub(super) check_http: Option<String>,
    /// Runs the function in a container that is ready; empty: the container's command was the function.
    pub(super) invoke: Vec<String>,
    /// What it was made from, for people.
    pub(super) made_of: String,
}

/// Fills `dest` with this host's python3 and its libraries, or else with its Rust compiler.
pub(super) fn make(dest: &Path) -> anyhow::Result<Rootfs> {
    let mut copy = Copy { dest: dest.to_owned(), bytes: 0, libraries: BTreeSet::new() };
    for dir in ["tmp", "proc", "dev", "sys", "etc"] {
        std::fs::create_dir_all(dest.join(dir))?;
    }
    let rootfs = match python() {
        Some((python, stdlib)) => copy.python(&python, &stdlib)?,
        None => copy.compiler(&sysroot().context(
            "there is neither a python3 nor a rustc on this host to make an image of; name a SOURCE: ft demo oci:DIR",
        )?)?,
    };
    if copy.bytes < MIN_BYTES
        && let Some(sysroot) = sysroot()
    {
        copy.tree(&sysroot.join("lib"), |_| true)?;
    }
    if copy.bytes < MIN_BYTES {
        bail!(
            "this host's python3 and Rust toolchain together give only {} MB; name a SOURCE: ft demo dir:DIR",
            copy.bytes / 1_000_000
        );
    }
    Ok(rootfs)
}

/// This host's python3 and its standard library.
fn python() -> Option<(PathBuf, PathBuf)> {
    let output =
        Command::new("python3").args(["-c", PROBE]).output().ok().filter(|out| out.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines().map(PathBuf::from);
    let found = (lines.next()?, lines.next()?);
    (found.0.is_file() && found.1.is_dir()).then_some(found)
}

/// The Rust toolchain's directory.
fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.join("lib").is_dir().then_some(path)
}

/// Copies files to the same paths below `dest`, with their times (Python's caches depend on them).
struct Copy {
    dest: PathBuf,
    bytes: u64,
    libraries: BTreeSet<PathBuf>,
}

impl Copy {
    fn python(&mut self, python: &Path, stdlib: &Path) -> anyhow::Result<Rootfs> {
        self.file(python)?;
        self.libraries_of(python)?;
        // Installed packages are no part of the interpreter.
        self.tree(stdlib, |name| name != "site-packages" && name != "dist-packages")?;
        for entry in WalkDir::new(stdlib.join("lib-dynload")).into_iter().filter_map(Result::ok) {
            if entry.path().extension() == Some(OsStr::new("so")) {
                self.libraries_of(entry.path())?;
            }
        }
        Ok(Rootfs {
            args: vec![python.display().to_string(), "-c".to_owned(), RUNTIME.to_owned()],
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
            check_http: Some("8080/".to_owned()),
            invoke: vec![python.display().to_string(), "-c".to_owned(), INVOKE.to_owned()],
            made_of: format!("{} and its libraries", python.display()),
        })
    }

    fn compiler(&mut self, sysroot: &Path) -> anyhow::Result<Rootfs> {
        let rustc = sysroot.join("bin/rustc");
        self.file(&rustc)?;
        self.libraries_of(&rustc)?;
        self.tree(&sysroot.join("lib"), |_| true)?;
        Ok(Rootfs {
            args: vec![rustc.display().to_string(), "-vV".to_owned()],
            env: vec![format!("LD_LIBRARY_PATH={}", sysroot.join("lib").display())],
            check_http: None,
            invoke: Vec::new(),
            made_of: format!("{} and its libraries", rustc.display()),
        })
    }

    /// Everything below `root` that `wanted` takes by name.
    fn tree(&mut self, root: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let entries = WalkDir::new(root).sort_by_file_name().into_iter();
        let entries = entries.filter_entry(|entry| entry.file_name().to_str().is_some_and(&wanted));
        for entry in entries {
            let entry = entry?;
            let target = self.target(entry.path());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(target)?;
            } else if entry.file_type().is_symlink() {
                self.link(entry.path(), &target)?;
            } else if entry.file_type().is_file() {
                self.file(entry.path())?;
            }
        }
        Ok(())
    }

    fn link(&self, from: &Path, target: &Path) -> anyhow::Result<()> {
        if target.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(std::fs::read_link(from)?, target)?;
        }
        Ok(())
    }

    fn file(&mut self, from: &Path) -> anyhow::Result<()> {
        let target = self.target(from);
        if target.symlink_metadata().is_ok() {
            return Ok(());
        }
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let copied = std::fs::copy(from, &target);
        self.bytes += copied.with_context(|| format!("cannot copy {} into the image", from.display()))?;
        let metadata = from.metadata()?;
        let times = std::fs::FileTimes::new().set_modified(metadata.modified()?);
        // A file that its owner may not write cannot be opened for that; its directory's owner may still read it.
        std::fs::File::open(&target)?.set_times(times)?;
        debug_assert_eq!(target.metadata()?.mtime(), metadata.mtime());
        Ok(())
    }

    /// The shared libraries that a program or library loads, by the names under which it looks for them.
    fn libraries_of(&mut self, file: &Path) -> anyhow::Result<()> {
        let output =
            Command::new("ldd").arg(file).output().context("cannot run ldd (part of the C library)")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for path in text.lines().filter_map(library_path) {
            if self.libraries.insert(path.clone()) {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn target(&self, path: &Path) -> PathBuf {
        self.dest.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The file in a line of `ldd`: `libz.so.1 => /lib/libz.so.1 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library_path(line: &str) -> Option<PathBuf> {
    let path = line.split("=>").last()?.split_whitespace().next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_off_ldd() {
        let path = |line| library_path(line).map(|path| path.display().to_string());
        assert_eq!(path("\tlibz.so.1 => /lib/libz.so.1 (0x7f)").as_deref(), Some("/lib/libz.so.1"));
        assert_eq!(
            path("\t/lib64/ld-linux-x86-64.so.2 (0x7f)").as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(path("\tlinux-vdso.so.1 (0x7ffc)"), None);
        assert_eq!(path("\tlibgone.so => not found"), None);
        assert_eq!(path("\tstatically linked"), None);
    }
}
