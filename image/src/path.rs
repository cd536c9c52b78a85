//! Paths from archives, made safe.

use crate::entry::{MAX_NAME, MAX_PATH};
use crate::error::EntryProblem;

/// A path from an archive as [`Entry::path`](crate::entry::Entry::path) wants it. Leading, doubled and
/// trailing slashes and `.` are dropped, so absolute names become relative to the image's root, as with
/// every tar tool. What could leave the root, or cannot exist on Linux, is an error. `what` names the path
/// in it.
pub(crate) fn normalise(raw: &[u8], what: &'static str) -> Result<Vec<u8>, EntryProblem> {
    let refuse = |reason| Err(EntryProblem::Path { what, reason });
    if raw.contains(&0) {
        return refuse("contains a NUL byte");
    }
    let mut path = Vec::with_capacity(raw.len().min(MAX_PATH));
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => return refuse("contains '..'"),
            _ if name.len() > MAX_NAME => return refuse("has a name of more than 255 bytes"),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > MAX_PATH {
            return refuse("has more than 4096 bytes");
        }
    }
    Ok(path)
}

/// A symbolic link's target: any bytes that Linux can store, never interpreted.
pub(crate) fn symlink_target(raw: Vec<u8>) -> Result<Vec<u8>, EntryProblem> {
    let refuse = |reason| Err(EntryProblem::Path { what: "symbolic link's target", reason });
    match raw {
        _ if raw.is_empty() => refuse("is empty"),
        _ if raw.contains(&0) => refuse("contains a NUL byte"),
        _ if raw.len() >= MAX_PATH => refuse("has more than 4095 bytes"),
        _ => Ok(raw),
    }
}

/// A hard link's target within the image.
pub(crate) fn hard_link_target(raw: &[u8]) -> Result<Vec<u8>, EntryProblem> {
    const WHAT: &str = "hard link's target";
    let target = normalise(raw, WHAT)?;
    if target.is_empty() {
        return Err(EntryProblem::Path { what: WHAT, reason: "is empty" });
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(raw: &str) -> Result<String, String> {
        normalise(raw.as_bytes(), "path")
            .map(|path| String::from_utf8(path).unwrap())
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn harmless_forms_become_one() {
        for raw in ["a/b", "/a/b", "./a/b", "a//b/", "//a/./b/.", "././/a/b"] {
            assert_eq!(normal(raw).as_deref(), Ok("a/b"), "{raw}");
        }
        for raw in ["", "/", ".", "./", "///"] {
            assert_eq!(normal(raw).as_deref(), Ok(""), "{raw}");
        }
        assert_eq!(normal("...").as_deref(), Ok("..."));
        assert_eq!(normal("..a/b..").as_deref(), Ok("..a/b.."));
    }

    #[test]
    fn hostile_forms_are_refused() {
        for raw in ["..", "../x", "a/../../x", "/..", "a/..", "./../x"] {
            assert_eq!(normal(raw), Err("its path contains '..'".into()), "{raw}");
        }
        assert_eq!(normal("a\0b"), Err("its path contains a NUL byte".into()));
        assert!(normal(&"x".repeat(255)).is_ok());
        assert_eq!(normal(&"x".repeat(256)), Err("its path has a name of more than 255 bytes".into()));
        let deep = "x/".repeat(2048);
        assert_eq!(normal(&deep).map(|path| path.len()), Ok(4095));
        assert_eq!(normal(&format!("{deep}/yy")), Err("its path has more than 4096 bytes".into()));
    }

    #[test]
    fn link_targets() {
        assert_eq!(symlink_target(b"../../etc/passwd".to_vec()).unwrap(), b"../../etc/passwd");
        assert!(symlink_target(Vec::new()).is_err());
        assert!(symlink_target(vec![b'x'; 4096]).is_err());
        assert_eq!(hard_link_target(b"/usr/bin/x").unwrap(), b"usr/bin/x");
        assert!(hard_link_target(b"../x").is_err());
        assert!(hard_link_target(b"/").is_err());
    }
}
