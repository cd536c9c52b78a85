//! The run configuration that comes with a function image (`docs/formats.md`): JSON, read with bounds.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::spec::{check_process, check_texts};

/// The largest run configuration that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The largest user and group number; one more means "none" to the kernel.
const LARGEST_ID: u32 = u32::MAX - 1;

/// How a function's process is to be run. Fields that this version does not know are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunConfig {
    /// The program and its arguments; none if the image leaves it to the caller.
    pub args: Vec<String>,
    /// Environment, each `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// The working directory.
    #[serde(default = "root")]
    pub cwd: String,
    /// Who runs it.
    #[serde(default)]
    pub user: User,
    /// How to find out that it is ready; without one it is ready when it has exited with 0 or lived for 1 s.
    #[serde(default)]
    pub check: Option<Check>,
    /// Free-form labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct User {
    /// The user number.
    pub uid: u32,
    /// The group number.
    pub gid: u32,
}

/// How to find out that a container is ready.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A command in the container exits with 0.
    Exec {
        /// The program and its arguments.
        args: Vec<String>,
    },
    /// `GET path` on the container's loopback interface is answered with a status from 200 to 399.
    Http {
        /// The TCP port.
        port: u16,
        /// The path, with its leading slash.
        path: String,
    },
    /// A connection to the container's loopback interface is accepted.
    Tcp {
        /// The TCP port.
        port: u16,
    },
}

/// A run configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunConfigError {
    /// It is larger than any real one.
    #[error("the run configuration has {0} bytes, more than {LARGEST}")]
    TooLarge(usize),
    /// It is not JSON of the right shape.
    #[error("the run configuration cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A field has a value that cannot be run.
    #[error("the run configuration: {0}")]
    Value(&'static str),
}

impl RunConfig {
    /// Reads a run configuration.
    ///
    /// # Errors
    /// When it is too large, not JSON of this shape, or holds values that cannot be run.
    pub fn parse(json: &[u8]) -> Result<Self, RunConfigError> {
        if json.len() > LARGEST {
            return Err(RunConfigError::TooLarge(json.len()));
        }
        let config: Self = serde_json::from_slice(json)?;
        config.check_values().map_err(RunConfigError::Value)?;
        Ok(config)
    }

    fn check_values(&self) -> Result<(), &'static str> {
        check_texts(&self.args, &self.env, &self.cwd)?;
        if self.user.uid > LARGEST_ID || self.user.gid > LARGEST_ID {
            return Err("user or group number out of range");
        }
        match &self.check {
            Some(Check::Exec { args }) => {
                check_process(args, &[], "/").map_err(|_| "the check has no program to run")
            }
            Some(Check::Http { port: 0, .. } | Check::Tcp { port: 0 }) => Err("the check's port is 0"),
            Some(Check::Http { path, .. })
                if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte == 0x7F) =>
            {
                Err("the check's path does not start with a slash, or has blanks")
            }
            _ => Ok(()),
        }
    }
}

fn root() -> String {
    "/".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<RunConfig, RunConfigError> {
        RunConfig::parse(json.as_bytes())
    }

    #[test]
    fn a_full_configuration() {
        let config = parse(
            r#"{"args": ["python3", "-c", "1"], "env": ["A=1"], "cwd": "/srv", "user": {"uid": 1, "gid": 2},
                "check": {"http": {"port": 8080, "path": "/up"}}, "labels": {"k": "v"}, "later": [1]}"#,
        )
        .unwrap();
        assert_eq!(config.args, ["python3", "-c", "1"]);
        assert_eq!(config.user, User { uid: 1, gid: 2 });
        assert_eq!(config.check, Some(Check::Http { port: 8080, path: "/up".into() }));
        assert_eq!(config.labels.get("k").map(String::as_str), Some("v"));
    }

    #[test]
    fn all_but_args_have_defaults() {
        assert!(parse(r#"{"args": []}"#).is_ok(), "the caller names the program");
        let config = parse(r#"{"args": ["x"], "check": null}"#).unwrap();
        assert_eq!((config.cwd.as_str(), config.user, config.check), ("/", User::default(), None));
    }

    #[test]
    fn every_kind_of_check() {
        let check = |json: &str| parse(&format!(r#"{{"args": ["x"], "check": {json}}}"#)).map(|c| c.check);
        assert_eq!(check(r#"{"tcp": {"port": 1}}"#).unwrap(), Some(Check::Tcp { port: 1 }));
        let exec = Check::Exec { args: vec!["true".into()] };
        assert_eq!(check(r#"{"exec": {"args": ["true"]}}"#).unwrap(), Some(exec));
        for bad in [
            r#"{"tcp": {"port": 0}}"#,
            r#"{"tcp": {"port": 65536}}"#,
            r#"{"exec": {"args": []}}"#,
            r#"{"http": {"port": 1, "path": "up"}}"#,
            r#"{"http": {"port": 1, "path": "/a b"}}"#,
            r#"{"http": {"port": 1, "path": "/a\r\nX: y"}}"#,
            r#"{"udp": {"port": 1}}"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_run_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"args": ["x"], "cwd": "srv"}"#,
            r#"{"args": ["x"], "env": ["X"]}"#,
            r#"{"args": ["\u0000"]}"#,
            r#"{"args": ["x"], "user": {"uid": 4294967295, "gid": 0}}"#,
            r#"{"args": ["x"], "user": {"uid": -1, "gid": 0}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let large = format!(r#"{{"args": ["{}"]}}"#, "x".repeat(LARGEST));
        assert!(matches!(parse(&large), Err(RunConfigError::TooLarge(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(&deep), Err(RunConfigError::Json(_))));
    }
}
