//! What the paths of a layer's entries may be, and which of them are orders to hide something.

use crate::entry::{MAX_NAME, MAX_PATH};
use crate::error::EntryProblem;

/// In front of a name: lower layers' object of that name is hidden.
const WHITEOUT: &[u8] = b".wh.";
/// In front of names with which AUFS, the origin of whiteouts, keeps its own books.
const AUFS: &[u8] = b".wh..wh.";
/// The name that hides everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'p> {
    /// The entry itself.
    Put,
    /// Hide what lower layers have at this path.
    Whiteout(Vec<u8>),
    /// Hide what lower layers have in this directory.
    Opaque(&'p [u8]),
    /// Nothing: AUFS's own books.
    Nothing,
}

/// Sources promise clean paths; the image's safety does not rest on it.
pub(super) fn check_path(path: &[u8], what: &'static str) -> Result<(), EntryProblem> {
    let wrong = |reason| Err(EntryProblem::Path { what, reason });
    if path.len() > MAX_PATH {
        return wrong("is longer than 4096 bytes");
    }
    if path.is_empty() {
        return Ok(());
    }
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" => return wrong("has an empty name in it"),
            b"." | b".." => return wrong("has . or .. in it"),
            _ if name.len() > MAX_NAME => return wrong("has a name longer than 255 bytes in it"),
            _ if name.contains(&0) => return wrong("has a NUL byte in it"),
            _ => {}
        }
    }
    Ok(())
}

/// What the entry at a checked path stands for.
pub(super) fn request(path: &[u8]) -> Result<Request<'_>, EntryProblem> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (above, name) = cut.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
    let mut directories = above.split(|byte| *byte == b'/');
    if directories.clone().any(|name| name.starts_with(AUFS)) {
        return Ok(Request::Nothing);
    }
    if directories.any(|name| name.starts_with(WHITEOUT)) {
        return Err(EntryProblem::Path { what: "path", reason: "lies below a whiteout" });
    }
    if name == OPAQUE {
        return Ok(Request::Opaque(above));
    }
    if name.starts_with(AUFS) {
        return Ok(Request::Nothing);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Request::Put),
        Some(b"" | b"." | b"..") => {
            Err(EntryProblem::Path { what: "path", reason: "is a whiteout of nothing, of . or of .." })
        }
        Some(hidden) if above.is_empty() => Ok(Request::Whiteout(hidden.to_vec())),
        Some(hidden) => Ok(Request::Whiteout([above, b"/", hidden].concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_requests() {
        let whiteout = |path: &str| Request::Whiteout(path.into());
        for (path, expected) in [
            ("a", Request::Put),
            ("a/.whx", Request::Put),
            (".wh.a", whiteout("a")),
            ("a/b/.wh.c.wh.", whiteout("a/b/c.wh.")),
            (".wh..wh..opq", Request::Opaque(b"")),
            ("a/b/.wh..wh..opq", Request::Opaque(b"a/b")),
            (".wh..wh.plnk", Request::Nothing),
            ("a/.wh..wh.plnk/123.456", Request::Nothing),
        ] {
            assert_eq!(request(path.as_bytes()).unwrap(), expected, "{path}");
        }
    }
}
