//! Users and groups by name, from the image's own `/etc/passwd` and `/etc/group`.

use std::io::{Cursor, Read};

use super::User;
use crate::Error;
use crate::entry::{Entry, EntryKind, LayerSink};

/// The most bytes of an account file that are looked at.
const MAX_FILE: u64 = 1 << 20;

/// The accounts of an image.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl Accounts {
    /// Whom `text` (`USER`, `UID`, `USER:GROUP`, `UID:GID`) means. Nothing means root. Without a group it is
    /// the user's primary one, or 0 for a user whom the image does not know.
    pub(super) fn resolve(&self, text: &str) -> Result<User, Error> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let known = if user.is_empty() { None } else { find(self.passwd.as_deref(), user) };
        let (uid, primary) = match (known, user.parse()) {
            _ if user.is_empty() => (0, 0),
            (Some(fields), _) => (fields[0], fields.get(1).copied().unwrap_or(0)),
            (None, Ok(uid)) => (uid, 0),
            (None, Err(_)) => return Err(unknown("user", user, "/etc/passwd")),
        };
        let gid = match group {
            None => primary,
            Some(group) => match (find(self.group.as_deref(), group), group.parse()) {
                (Some(fields), _) => fields[0],
                (None, Ok(gid)) => gid,
                (None, Err(_)) => return Err(unknown("group", group, "/etc/group")),
            },
        };
        Ok(User { uid, gid })
    }

    fn slot(&mut self, path: &[u8]) -> Option<&mut Option<Vec<u8>>> {
        match path {
            b"etc/passwd" => Some(&mut self.passwd),
            b"etc/group" => Some(&mut self.group),
            _ => None,
        }
    }
}

/// The line of an account file about `name`, or about the number that `name` is: its third field and those
/// after it that are numbers.
fn find(file: Option<&[u8]>, name: &str) -> Option<Vec<u32>> {
    let lines = file?.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut found = lines.map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 3);
    let by_name = found.clone().find(|fields| fields[0] == name);
    let fields = by_name.or_else(|| found.find(|fields| fields[2] == name))?;
    let numbers: Vec<u32> = fields[2..].iter().map_while(|field| field.parse().ok()).collect();
    (!numbers.is_empty()).then_some(numbers)
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::RunConfig(format!("the image's {file} knows no {what} {name:?}; name it by number"))
}

/// Passes a layer's entries on, and remembers the account files among them.
pub struct AccountsSink<'a> {
    inner: &'a mut dyn LayerSink,
    accounts: &'a mut Accounts,
    /// Account files of this very layer: whiteouts hide only those of lower ones, wherever they stand.
    own: Vec<Vec<u8>>,
}

impl<'a> AccountsSink<'a> {
    /// Gives everything to `inner`, and brings `accounts` up to date. A sink is for one layer; give the
    /// same accounts to the sinks of all layers, from the lowest up.
    pub fn new(inner: &'a mut dyn LayerSink, accounts: &'a mut Accounts) -> Self {
        Self { inner, accounts, own: Vec::new() }
    }

    /// Notes what `entry` hides or replaces.
    fn forget(&mut self, entry: &Entry) {
        let hidden: &[&[u8]] = match entry.path.as_slice() {
            b".wh.etc" | b".wh..wh..opq" | b"etc/.wh..wh..opq" => &[b"etc/passwd", b"etc/group"],
            b"etc/.wh.passwd" => &[b"etc/passwd"],
            b"etc/.wh.group" => &[b"etc/group"],
            b"etc" if entry.kind != EntryKind::Directory => {
                self.own.clear();
                &[b"etc/passwd", b"etc/group"]
            }
            path => {
                self.own.retain(|own| own != path);
                &[path]
            }
        };
        for path in hidden.iter().filter(|path| !self.own.iter().any(|own| own == *path)) {
            if let Some(slot) = self.accounts.slot(path) {
                *slot = None;
            }
        }
    }
}

impl LayerSink for AccountsSink<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.forget(entry);
        let dense = matches!(&entry.kind, EntryKind::File { size, segments }
            if *size <= MAX_FILE && segments.iter().map(|part| part.len).sum::<u64>() == *size);
        let Some(slot) = self.accounts.slot(&entry.path).filter(|_| dense) else {
            return self.inner.entry(entry, data);
        };
        let mut bytes = Vec::new();
        let read = data.take(MAX_FILE).read_to_end(&mut bytes);
        read.map_err(Error::io("reading an account file"))?;
        let passed = self.inner.entry(entry, &mut Cursor::new(&bytes));
        *slot = Some(bytes);
        self.own.push(entry.path.clone());
        passed
    }
}
