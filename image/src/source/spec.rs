//! The SOURCE argument: skopeo's transport names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `docker://HOST/REPOSITORY:TAG`: an image in a registry.
    Docker(String),
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Oci(PathBuf, Option<String>),
    /// `oci-archive:FILE[:TAG]`: an OCI image layout in a tar archive.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME[:TAG]]`: what `docker save` writes.
    DockerArchive(PathBuf, Option<String>),
    /// `dir:DIR`: a directory with all below it.
    Dir(PathBuf),
    /// `zip:FILE`: a zip package.
    Zip(PathBuf),
    /// `tar:FILE`: a tar archive, plain or compressed with gzip or zstd.
    Tar(PathBuf),
}

impl Source {
    /// Parses the SOURCE argument.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::NotASource { text: text.to_owned(), reason: reason.to_owned() };
        let Some((transport, rest)) = text.split_once(':') else {
            return Err(wrong(FORMS));
        };
        let image = || {
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name.to_owned()).filter(|name| !name.is_empty())),
                None => (rest, None),
            };
            (PathBuf::from(path), name)
        };
        let source = match transport {
            "docker" => match rest.strip_prefix("//") {
                Some(reference) if !reference.is_empty() => Self::Docker(reference.to_owned()),
                _ => return Err(wrong("expected docker://HOST/REPOSITORY:TAG")),
            },
            "oci" => {
                let (path, name) = image();
                Self::Oci(path, name)
            }
            "oci-archive" => {
                let (path, name) = image();
                Self::OciArchive(path, name)
            }
            "docker-archive" => {
                let (path, name) = image();
                Self::DockerArchive(path, name)
            }
            "dir" => Self::Dir(rest.into()),
            "zip" => Self::Zip(rest.into()),
            "tar" => Self::Tar(rest.into()),
            _ => return Err(wrong(FORMS)),
        };
        if source.path().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(wrong("the path is empty"));
        }
        Ok(source)
    }

    fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Docker(_) => None,
            Self::Oci(path, _) | Self::OciArchive(path, _) | Self::DockerArchive(path, _) => Some(path),
            Self::Dir(path) | Self::Zip(path) | Self::Tar(path) => Some(path),
        }
    }
}

const FORMS: &str = "expected docker://HOST/REPOSITORY:TAG, oci:DIR[:TAG], oci-archive:FILE[:TAG], \
                     docker-archive:FILE[:NAME[:TAG]], dir:DIR, zip:FILE or tar:FILE";

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, name) = match self {
            Self::Docker(reference) => return write!(f, "docker://{reference}"),
            Self::Oci(_, name) => ("oci", name.as_ref()),
            Self::OciArchive(_, name) => ("oci-archive", name.as_ref()),
            Self::DockerArchive(_, name) => ("docker-archive", name.as_ref()),
            Self::Dir(_) => ("dir", None),
            Self::Zip(_) => ("zip", None),
            Self::Tar(_) => ("tar", None),
        };
        let path = self.path().map(|path| path.display());
        write!(f, "{transport}:{}", path.into_iter().map(|path| path.to_string()).collect::<String>())?;
        name.map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_the_way_to_text_and_back() {
        let forms = [
            ("docker://127.0.0.1:5000/a/b:v1", Source::Docker("127.0.0.1:5000/a/b:v1".into())),
            ("oci:/x/y", Source::Oci("/x/y".into(), None)),
            ("oci:x:v1", Source::Oci("x".into(), Some("v1".into()))),
            ("oci-archive:x.tar:v1", Source::OciArchive("x.tar".into(), Some("v1".into()))),
            ("docker-archive:x.tar:a/b:c", Source::DockerArchive("x.tar".into(), Some("a/b:c".into()))),
            ("dir:.", Source::Dir(".".into())),
            ("dir:/a:b", Source::Dir("/a:b".into())),
            ("zip:a.zip", Source::Zip("a.zip".into())),
            ("tar:a.tar.gz", Source::Tar("a.tar.gz".into())),
        ];
        for (text, source) in forms {
            assert_eq!(Source::parse(text).unwrap(), source);
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| Source::parse(text).unwrap_err().to_string();
        assert!(error("ubuntu").contains("expected docker://HOST"));
        assert!(error("ftp:x").contains("expected docker://HOST"));
        assert!(error("docker:x").contains("expected docker://HOST"));
        assert!(error("docker://").contains("expected docker://HOST"));
        assert!(error("oci:").contains("the path is empty"));
        assert!(error("dir:").contains("the path is empty"));
    }
}
