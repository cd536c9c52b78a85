//! How a function's container is run: what the image says, and what the user says instead.

mod accounts;
mod image;
mod overrides;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::accounts::{Accounts, AccountsSink};
pub use self::image::ImageConfig;
pub use self::overrides::RunOverrides;
use crate::Error;

/// The search path of images that name none (Docker's).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A function's run configuration, stored in its image as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The program and its arguments. May be empty for images that name none: such a function cannot be
    /// started as it is.
    pub args: Vec<String>,
    /// The environment, each `NAME=VALUE`, each name once.
    pub env: Vec<String>,
    /// The working directory, an absolute path.
    pub cwd: String,
    /// Whom it runs as.
    pub user: User,
    /// How to see that it is ready.
    pub check: Option<Check>,
    /// Names and values for people and tools.
    pub labels: BTreeMap<String, String>,
}

/// A user and group by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

/// How to see that a container is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// This program, run in the container, exits with 0.
    Exec {
        /// The program and its arguments.
        args: Vec<String>,
    },
    /// A GET is answered with a status below 400.
    Http {
        /// Port on the container's loopback.
        port: u16,
        /// Path and query.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Port on the container's loopback.
        port: u16,
    },
}

impl RunConfig {
    /// What `image` says (nothing for directories and plain archives), changed by `overrides`. Names of
    /// users and groups are looked up in `accounts`, the image's own.
    pub fn new(
        image: Option<&ImageConfig>,
        overrides: &RunOverrides,
        accounts: &Accounts,
    ) -> Result<Self, Error> {
        let defaults = ImageConfig::default();
        let image = image.unwrap_or(&defaults);
        let mut labels = image.labels();
        labels.extend(overrides.labels.clone());
        let user = overrides.user.as_deref().unwrap_or(image.user());
        Ok(Self {
            args: overrides.args.clone().unwrap_or_else(|| image.args()),
            env: environment(image.env(), &overrides.env)?,
            cwd: absolute(overrides.cwd.as_deref().unwrap_or(image.cwd())),
            user: accounts.resolve(user)?,
            check: overrides.check.clone().unwrap_or_else(|| image.check()),
            labels,
        })
    }
}

/// `base` with `changes`: a name that is there already keeps its place, the last value counts.
fn environment(base: &[String], changes: &[String]) -> Result<Vec<String>, Error> {
    let mut env: Vec<String> = vec![DEFAULT_PATH.to_owned()];
    for variable in base.iter().chain(changes) {
        let name = match variable.split_once('=') {
            Some((name, _)) if !name.is_empty() && !variable.contains('\0') => name,
            _ => return Err(Error::RunConfig(format!("{variable:?} is not NAME=VALUE"))),
        };
        let same = |known: &&mut String| known.split_once('=').is_some_and(|(known, _)| known == name);
        match env.iter_mut().find(same) {
            Some(known) => known.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    Ok(env)
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}
