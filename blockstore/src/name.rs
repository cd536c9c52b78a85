//! Names of function images in an origin.

use std::fmt;
use std::str::FromStr;

/// The name that a function image has in an origin: 1 to 128 of `A-Z a-z 0-9 _ . -`, not beginning with a
/// dot or a dash. That is the grammar of OCI tags, so that a name works in every origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = InvalidRefName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let valid = text.len() <= 128 && text.chars().all(inner) && !text.starts_with(['.', '-']);
        match valid && !text.is_empty() {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidRefName { name: text.chars().take(200).collect() }),
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a [`RefName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name for an image: use 1 to 128 of A-Z a-z 0-9 _ . - and begin with none of . -")]
pub struct InvalidRefName {
    /// The text.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_names_and_paths_are_not() {
        for name in ["py", "py-2", "A_b.c-9", "_x", &"x".repeat(128)] {
            assert_eq!(name.parse::<RefName>().map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for text in ["", ".", "..", "-x", "a/b", "a b", "a@2", "a:b", "é", &"x".repeat(129)] {
            assert!(text.parse::<RefName>().is_err(), "accepted {text:?}");
        }
    }
}
