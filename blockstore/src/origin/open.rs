//! Origins as the user writes them.

use std::path::Path;
use std::sync::Arc;

use reqwest::Url;

use super::{DirOrigin, HttpOrigin, Origin, OriginError, RegistryOrigin};
use crate::oci::{PlainHttp, Reference, RegistryOptions};
use crate::transfer::{is_loopback, web_tls};

/// What opening an origin takes.
#[derive(Clone, Debug, Default)]
pub struct OriginContext {
    /// For `https:` origins: the TLS configuration for the origin beside our own manager
    /// (`ft_identity::client_config`). `None`: a server of the web, checked against the host's CA certificates.
    pub tls: Option<rustls::ClientConfig>,
    /// For registries; the deadlines, CA certificates and the rule about plain HTTP are those of HTTP servers too.
    pub registry: RegistryOptions,
}

/// Opens `dir:PATH`, `https://HOST[:PORT][/PATH]`, `http://…` (loopback, or if the context allows it) or
/// `docker://HOST/REPOSITORY`. A directory is created if need be; over the network, nothing is sent yet.
///
/// # Errors
/// [`OriginError`], among others for anything else.
pub fn open_origin(spec: &str, context: &OriginContext) -> Result<Arc<dyn Origin>, OriginError> {
    let wrong = |reason: String| OriginError::Spec { spec: spec.to_owned(), reason };
    if let Some(path) = spec.strip_prefix("dir:") {
        if path.is_empty() {
            return Err(wrong("it names no directory".to_owned()));
        }
        return Ok(Arc::new(DirOrigin::open(Path::new(path))?));
    }
    if let Some(reference) = spec.strip_prefix("docker://") {
        let reference: Reference = reference.parse().map_err(|error| wrong(format!("{error}")))?;
        return Ok(Arc::new(RegistryOrigin::new(&reference, &context.registry)?));
    }
    let url = Url::parse(spec).map_err(|_| wrong("it has no known scheme".to_owned()))?;
    let plain = match context.registry.plain_http {
        PlainHttp::Loopback => is_loopback(&url),
        PlainHttp::Always => true,
        PlainHttp::Never => false,
    };
    if url.scheme() == "http" && !plain {
        return Err(wrong("plain HTTP is only for this machine, or on request (--plain-http)".to_owned()));
    }
    let tls = match &context.tls {
        Some(tls) => tls.clone(),
        None => web_tls(&context.registry.extra_roots).map_err(wrong)?,
    };
    Ok(Arc::new(HttpOrigin::new(spec, tls, context.registry.limits.clone())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_scheme() {
        let folder = tempfile::tempdir().unwrap();
        let dir = format!("dir:{}", folder.path().display());
        let context = OriginContext::default();
        for spec in
            [&dir, "https://127.0.0.1:7443", "http://localhost:80/x", "docker://r.example:5000/team/py"]
        {
            assert_eq!(open_origin(spec, &context).unwrap().describe(), spec);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        let context = OriginContext::default();
        for (spec, reason) in [
            ("dir:", "no directory"),
            ("http://r.example/", "plain HTTP"),
            ("ftp://r.example/", "https://HOST"),
            ("r.example/py", "scheme"),
            ("https://r.example/?x=y", "optional path"),
            ("docker://", "docker://HOST/REPOSITORY"),
        ] {
            let error = open_origin(spec, &context).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(spec), "{error}");
        }
    }
}
