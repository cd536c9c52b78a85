//! The manager's own names for things.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ft_core::Digest;

/// A container, never two of the same name: `c` and the manager's term, `-` and a number within the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ContainerId {
    pub(crate) term: u64,
    pub(crate) number: u64,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.term, self.number)
    }
}

impl FromStr for ContainerId {
    type Err = ParseContainerIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (term, number) =
            text.strip_prefix('c').and_then(|rest| rest.split_once('-')).ok_or(ParseContainerIdError)?;
        let id = Self {
            term: term.parse().map_err(|_| ParseContainerIdError)?,
            number: number.parse().map_err(|_| ParseContainerIdError)?,
        };
        // One container has one name: no leading zeros or signs.
        if id.to_string() == text { Ok(id) } else { Err(ParseContainerIdError) }
    }
}

/// The text is no container's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a container: expected cTERM-NUMBER, as `ft ps` shows it")]
pub(crate) struct ParseContainerIdError;

/// A function tree: one for each tenant and function image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TreeKey {
    pub(crate) tenant: Arc<str>,
    pub(crate) image: Digest,
}

/// A function as requests name it: the newest version, or a certain one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionRef {
    pub(crate) name: String,
    pub(crate) version: Option<u32>,
}

impl FromStr for FunctionRef {
    type Err = ParseFunctionRefError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                (name, Some(version.parse().map_err(|_| ParseFunctionRefError(shorten(text)))?))
            }
        };
        if !is_function_name(name) {
            return Err(ParseFunctionRefError(shorten(text)));
        }
        Ok(Self { name: name.to_owned(), version })
    }
}

/// The text names no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no function: expected NAME or NAME@VERSION with a NAME of 1 to 63 of a-z, 0-9, '.', '_' and '-'"
)]
pub(crate) struct ParseFunctionRefError(pub(crate) String);

/// `[a-z0-9]([a-z0-9._-]{0,62})`: what functions, tenants and hosts' labels have in common.
pub(crate) fn is_function_name(name: &str) -> bool {
    let tail =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let head = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    head && name.len() <= 63 && name.bytes().all(tail)
}

/// A text from outside, short enough for a message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_are_canonical() {
        let id = ContainerId { term: 3, number: 41 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "c", "c1", "c1-", "c01-1", "c1-+1", "c1-1-1", "1-1", "c1-1 "] {
            assert!(text.parse::<ContainerId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn functions_are_named_with_or_without_a_version() {
        let newest = FunctionRef { name: "py".into(), version: None };
        assert_eq!("py".parse(), Ok(newest));
        let second = FunctionRef { name: "py".into(), version: Some(2) };
        assert_eq!("py@2".parse(), Ok(second));
        for text in ["", "Py", "-py", "py@", "py@x", "py@2@3", "p/y", &"p".repeat(64)] {
            assert!(text.parse::<FunctionRef>().is_err(), "{text:?} was accepted");
        }
    }
}
