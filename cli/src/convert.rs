//! Converting a source on behalf of several commands.

use std::path::PathBuf;
use std::sync::Arc;

use ft_blockstore::oci::{PlainHttp, RegistryError, RegistryOptions};
use ft_image::builder::{BuildOptions, Converted};
use ft_image::config::{Check, RunOverrides};
use ft_image::error::{Error, LayerProblem};
use ft_image::source::OpenOptions;
use ft_image::{ConvertOptions, Source};

use crate::args::{ConvertArgs, Global};
use crate::failure::{Failure, Kind};
use crate::progress::Bars;

/// Converts `source` with a progress bar. `command` replaces the image's own, unless it is empty.
pub(crate) async fn convert(
    global: &Global,
    source: &str,
    args: &ConvertArgs,
    command: &[String],
) -> Result<Converted, Failure> {
    let source: Source = source.parse().map_err(|error| Failure::new(Kind::Usage, error))?;
    let options = ConvertOptions {
        source,
        open: OpenOptions { registry: registry_options(args), ..OpenOptions::default() },
        build: BuildOptions::new(work_dir(args)),
        run: overrides(args, command)?,
    };
    let bars = Arc::new(Bars::new(global));
    let converted = ft_image::convert_async(options, Arc::<Bars>::clone(&bars)).await;
    bars.finish();
    converted.map_err(|error| Failure::new(kind_of(&error), error).context("cannot convert the source"))
}

/// The exit code for a conversion that failed.
fn kind_of(error: &Error) -> Kind {
    match error {
        Error::NotASource { .. } => Kind::Usage,
        Error::NoSuchImage { .. } => Kind::NotFound,
        Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
        Error::Registry { cause, .. } => match cause.downcast_ref() {
            Some(RegistryError::NotFound { .. }) => Kind::NotFound,
            Some(RegistryError::Unauthorized { .. } | RegistryError::Credentials { .. }) => Kind::NotAllowed,
            Some(RegistryError::Transfer { .. }) => Kind::Unreachable,
            Some(RegistryError::WrongDigest { .. }) => Kind::Integrity,
            _ => Kind::Failed,
        },
        Error::Layer {
            problem:
                LayerProblem::WrongDigest { .. }
                | LayerProblem::WrongDiffId { .. }
                | LayerProblem::WrongSize { .. },
            ..
        } => Kind::Integrity,
        _ => Kind::Failed,
    }
}

/// Where temporary files go.
pub(crate) fn work_dir(args: &ConvertArgs) -> PathBuf {
    args.work_dir.clone().unwrap_or_else(std::env::temp_dir)
}

pub(crate) fn registry_options(args: &ConvertArgs) -> RegistryOptions {
    RegistryOptions {
        docker_config: args.authfile.clone(),
        plain_http: if args.plain_http { PlainHttp::Always } else { PlainHttp::Loopback },
        ..RegistryOptions::default()
    }
}

fn overrides(args: &ConvertArgs, command: &[String]) -> Result<RunOverrides, Failure> {
    let exec = args.check_exec.as_ref().map(|command| {
        let args = ["/bin/sh", "-c", command].map(str::to_owned);
        Check::Exec { args: args.to_vec() }
    });
    let http = args.check_http.as_deref().map(http_check).transpose()?;
    let tcp = args.check_tcp.map(|port| Check::Tcp { port });
    Ok(RunOverrides {
        args: (!command.is_empty()).then(|| command.to_vec()),
        env: args.env.clone(),
        cwd: args.cwd.clone(),
        check: exec.or(http).or(tcp).map(Some),
        ..RunOverrides::default()
    })
}

/// `8080` or `8080/health`.
fn http_check(text: &str) -> Result<Check, Failure> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    let port = port.parse().map_err(|_| {
        Failure::message(
            Kind::Usage,
            format!("--check-http takes PORT/PATH, as in 8080/health, not {text:?}"),
        )
    })?;
    Ok(Check::Http { port, path: format!("/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_checks_name_port_and_path() {
        let check = |port, path: &str| Check::Http { port, path: path.to_owned() };
        assert_eq!(http_check("8080").unwrap(), check(8080, "/"));
        assert_eq!(http_check("80/a/b?c").unwrap(), check(80, "/a/b?c"));
        assert!(http_check("/health").is_err() && http_check("99999/").is_err());
    }
}
