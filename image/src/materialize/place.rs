//! Where in the destination a walk is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::MaterializeError;
use crate::error::show;

pub(super) fn open_directory(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// The directory in which a walk is. Only this one is held open, so that deep trees need few descriptors.
pub(super) struct Place<'r> {
    pub(super) root: &'r OwnedFd,
    pub(super) directory: OwnedFd,
    /// Its path from the root, each name with a `/` behind it.
    pub(super) path: Vec<u8>,
}

impl<'r> Place<'r> {
    pub(super) fn new(root: &'r OwnedFd) -> Result<Self, MaterializeError> {
        let mut place =
            Self { directory: root.try_clone().map_err(cannot("open", b""))?, root, path: Vec::new() };
        place.directory =
            open_directory(root, c".").map_err(|error| place.cannot("open", b"")(error.into()))?;
        Ok(place)
    }

    pub(super) fn enter(&mut self, name: &[u8]) -> Result<(), MaterializeError> {
        let opened = open_directory(&self.directory, name);
        self.directory = opened.map_err(|error| self.cannot("open", name)(error.into()))?;
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        Ok(())
    }

    /// Goes one up and returns the directory that was left; from the root it goes nowhere.
    pub(super) fn leave(&mut self) -> Result<OwnedFd, MaterializeError> {
        let above = if self.path.is_empty() { c"." } else { c".." };
        let parent = open_directory(&self.directory, above);
        let parent = parent.map_err(|error| self.cannot("leave", b"")(error.into()))?;
        self.path.pop();
        let cut = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        self.path.truncate(cut);
        Ok(std::mem::replace(&mut self.directory, parent))
    }

    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, name].concat()
    }

    /// For `map_err`: what could not be done with `name` here.
    pub(super) fn cannot(
        &self,
        action: &'static str,
        name: &[u8],
    ) -> impl FnOnce(io::Error) -> MaterializeError + use<> {
        cannot(action, &self.path_of(name))
    }
}

pub(super) fn cannot(
    action: &'static str,
    path: &[u8],
) -> impl FnOnce(io::Error) -> MaterializeError + use<> {
    let path = show(path.strip_suffix(b"/").unwrap_or(path));
    move |cause| MaterializeError::Object { action, path, cause }
}
