//! The kernel's table of mounts, and clearing a directory of what a crash left mounted in it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::MountError;

/// The mount table of this thread's mount namespace (`proc_pid_mountinfo(5)`), in which its unmounting happens too.
const TABLE: &str = "/proc/thread-self/mountinfo";

/// Mounts stacked on one another are cleared from the top; more rounds than this means that somebody mounts as
/// fast as we unmount.
const MAX_ROUNDS: usize = 64;

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Where it is mounted.
    pub at: PathBuf,
    /// The file system's type, such as `erofs` or `fuse`.
    pub fs: String,
    /// What is mounted, as the file system names it.
    pub source: OsString,
    /// The path, within the file system, of what shows at `at`.
    pub root: PathBuf,
    /// Whether it belongs to a peer group, so that mounts below it propagate.
    pub shared: bool,
    /// The file system's own options, separated by commas.
    pub options: String,
}

/// All mounts that this process sees, in the order in which they were mounted.
///
/// # Errors
/// When the table cannot be read.
pub fn mounts() -> Result<Vec<MountEntry>, MountError> {
    let path = Path::new(TABLE);
    let text = fs::read(path).map_err(MountError::io("read", path))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// Unmounts everything strictly below `dir` (a mount at `dir` itself stays) and says how many that were.
///
/// Meant for start-up after a crash. It needs no answer from whoever served the mounts. A `dir` that does not
/// exist has nothing mounted. Blocking, but brief.
///
/// # Errors
/// When the table cannot be read, or mounts are left.
pub fn clean_below(dir: &Path) -> Result<usize, MountError> {
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(MountError::io("resolve", dir)(error)),
    };
    let mut removed = 0;
    for _ in 0..MAX_ROUNDS {
        let left = entries_below(&dir)?;
        if left.is_empty() {
            return Ok(removed);
        }
        // The latest first: it may lie on top of, or within, an earlier one.
        let gone = left.iter().rev().filter(|entry| detach(entry).is_ok()).count();
        if gone == 0 {
            break;
        }
        removed += gone;
    }
    match entries_below(&dir)?.as_slice() {
        [] => Ok(removed),
        [first, ..] => {
            Err(MountError::Remaining { count: entries_below(&dir)?.len(), first: first.at.clone(), dir })
        }
    }
}

fn entries_below(dir: &Path) -> Result<Vec<MountEntry>, MountError> {
    Ok(mounts()?.into_iter().filter(|entry| entry.at != dir && entry.at.starts_with(dir)).collect())
}

fn detach(entry: &MountEntry) -> Result<(), Errno> {
    let mut flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    if entry.fs == "fuse" || entry.fs.starts_with("fuse.") {
        // Ends the connection: readers that still wait for an answer get an error now.
        flags |= UnmountFlags::FORCE;
    }
    rustix::mount::unmount(&entry.at, flags)
}

/// `id parent major:minor root mount-point options [optional fields…] - type source options`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = fields.nth(3)?;
    let at = fields.next()?;
    let _options = fields.next()?;
    let mut shared = false;
    for optional in fields.by_ref() {
        if optional == b"-" {
            break;
        }
        shared |= optional.starts_with(b"shared:");
    }
    Some(MountEntry {
        at: unescape(at).into(),
        fs: String::from_utf8_lossy(fields.next()?).into_owned(),
        source: unescape(fields.next()?),
        options: String::from_utf8_lossy(fields.next()?).into_owned(),
        root: unescape(root).into(),
        shared,
    })
}

/// Space, tab, newline and backslash appear as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if byte == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_optional_fields() {
        let line =
            br"36 35 98:0 /mnt1 /a\040b\134c\012d rw,noatime master:1 shared:7 - ext3 /dev/ro\011ot rw";
        let entry = parse_line(line).unwrap();
        assert_eq!(entry.at, Path::new("/a b\\c\nd"));
        assert_eq!(entry.root, Path::new("/mnt1"));
        assert_eq!(entry.fs, "ext3");
        assert_eq!(entry.source, "/dev/ro\tot");
        assert!(entry.shared);
        assert_eq!(entry.options, "rw");
    }

    #[test]
    fn a_private_mount_without_optional_fields() {
        let entry = parse_line(b"1 0 0:1 / /proc rw - proc proc rw").unwrap();
        assert!(!entry.shared);
        assert_eq!(entry.fs, "proc");
    }

    #[test]
    fn a_broken_line_is_passed_over() {
        assert_eq!(parse_line(b""), None);
        assert_eq!(parse_line(b"36 35 98:0 / /mnt rw shared:1"), None);
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(br"\9\04"), OsString::from(r"\9\04"));
    }

    #[test]
    fn the_kernels_own_table_has_the_root() {
        assert!(mounts().unwrap().iter().any(|entry| entry.at == Path::new("/")));
    }

    #[test]
    fn a_missing_directory_has_no_mounts() {
        assert_eq!(clean_below(Path::new("/nonexistent/ft")).unwrap(), 0);
    }
}
