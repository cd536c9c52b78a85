//! Flags, `FT_*` variables and the file of `--config`, in this order of precedence.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Cli;

/// Parses the command line. Values of the configuration file become defaults of the flags with the same long
/// names, under a table with the command's name: `[worker]`, `quota = "20GB"`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    if let Some(path) = config_path(&args) {
        command = with_defaults(command, &path)?;
    }
    let mut matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The value of `--config` or `FT_CONFIG`, before anything else is parsed.
fn config_path(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    std::env::var_os("FT_CONFIG").map(PathBuf::from)
}

fn with_defaults(mut command: Command, path: &std::path::Path) -> Result<Command, clap::Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Cli::command().error(ErrorKind::Io, format!("cannot read {shown}: {error}")))?;
    let invalid =
        |message: String| Cli::command().error(ErrorKind::ValueValidation, format!("{shown}: {message}"));
    let tables: toml::Table = text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
    for (name, table) in tables {
        let toml::Value::Table(table) = table else {
            return Err(invalid(format!("{name:?} must be a table named after a command, as in [worker]")));
        };
        let Some(sub) = command.find_subcommand(&name) else {
            return Err(invalid(format!("there is no command {name:?}")));
        };
        let mut defaults = Vec::new();
        for (key, value) in table {
            let argument = sub.get_arguments().find(|arg| arg.get_long() == Some(&key));
            let Some(argument) = argument else {
                return Err(invalid(format!("`ft {name}` has no flag --{key}")));
            };
            let value = as_flag(&value).ok_or_else(|| {
                invalid(format!("{key} must be a text, a number or a truth value, not {}", value.type_str()))
            })?;
            defaults.push((argument.get_id().clone(), value));
        }
        command = command.mut_subcommand(&name, |mut sub| {
            for (id, value) in defaults {
                sub = sub.mut_arg(id, |arg| arg.default_value(value));
            }
            sub
        });
    }
    Ok(command)
}

fn as_flag(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::args;

    fn parse_with(config: &str, flags: &[&str]) -> Result<Cli, clap::Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let mut line = vec![OsString::from("ft"), "--config".into(), file.path().into()];
        line.extend(flags.iter().map(OsString::from));
        parse(line)
    }

    fn quota(cli: &Cli) -> u64 {
        match &cli.command {
            args::Command::Worker(worker) => worker.quota,
            other => panic!("not a worker: {other:?}"),
        }
    }

    #[test]
    fn a_file_gives_defaults_that_flags_override() {
        let file = "[worker]\nquota = \"1GB\"\n";
        assert_eq!(quota(&parse_with(file, &["worker"]).unwrap()), 1_000_000_000);
        assert_eq!(quota(&parse_with(file, &["worker", "--quota", "5"]).unwrap()), 5);
    }

    #[test]
    fn unknown_tables_keys_and_values_are_errors() {
        for (file, word) in [
            ("[nobody]\nx = 1\n", "nobody"),
            ("[worker]\nqota = 1\n", "qota"),
            ("[worker]\nquota = [1]\n", "quota"),
            ("[worker]\nquota = \"many\"\n", "quota"),
            ("worker = 1\n", "table"),
            ("[worker", "worker"),
        ] {
            let error = parse_with(file, &["worker"]).unwrap_err().to_string();
            assert!(error.contains(word), "{file:?} gave: {error}");
        }
    }
}
