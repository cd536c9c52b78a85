//! What the user wants other than the image says.

use std::collections::BTreeMap;

use super::Check;

/// Changes to an image's run configuration. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOverrides {
    /// Program and arguments, instead of the image's entry point and command.
    pub args: Option<Vec<String>>,
    /// `NAME=VALUE`, added to the image's or in place of a variable of that name.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Whom to run as, in Docker's form: `USER`, `UID`, `USER:GROUP`, `UID:GID`.
    pub user: Option<String>,
    /// `Some(None)`: no check, even if the image has one.
    pub check: Option<Option<Check>>,
    /// Labels, added to the image's or in place of one of that name.
    pub labels: BTreeMap<String, String>,
}
