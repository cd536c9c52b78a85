//! Credentials as docker keeps them: `config.json` with its stores and helpers.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use tokio::sync::oneshot;

use super::RegistryError;

/// How long a credential helper may think.
const HELPER_DEADLINE: Duration = Duration::from_secs(20);

/// What opens a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// None are configured: what is public can be had.
    Anonymous,
    /// User and password.
    Password { user: String, password: String },
    /// An OAuth2 refresh token, good for the token server only.
    IdentityToken(String),
}

impl Credentials {
    /// What an error message may say about them.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Anonymous => "no credentials are configured".to_owned(),
            Self::Password { user, .. } => format!("it refused the password of user {user}"),
            Self::IdentityToken(_) => "it refused the identity token".to_owned(),
        }
    }
}

/// Where docker keeps its configuration: `$DOCKER_CONFIG` or else `$HOME/.docker`.
pub(super) fn default_config() -> PathBuf {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".docker");
    folder.unwrap_or_else(home).join("config.json")
}

/// The credentials for `registry` in docker's configuration file at `path`, which need not exist.
pub(super) async fn look_up(registry: &str, path: &Path) -> Result<Credentials, RegistryError> {
    let error = |reason: String| RegistryError::Credentials {
        registry: registry.to_owned(),
        reason,
        path: path.to_owned(),
    };
    let (asked, from) = (registry.to_owned(), path.to_owned());
    let (sender, found) = oneshot::channel();
    // A thread of its own: one of tokio's would keep the process from ending while a helper hangs.
    std::thread::spawn(move || sender.send(read(&asked, &from)));
    match tokio::time::timeout(HELPER_DEADLINE, found).await {
        Ok(Ok(found)) => found.map_err(error),
        Ok(Err(_)) => Err(error("reading them failed".to_owned())),
        Err(_) => Err(error(format!("the credential helper did not answer within {HELPER_DEADLINE:?}"))),
    }
}

fn read(registry: &str, path: &Path) -> Result<Credentials, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Credentials::Anonymous);
        }
        Err(error) => return Err(error.to_string()),
    };
    match docker_credential::get_credential_from_reader(BufReader::new(file), registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Credentials::Password { user, password })
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credentials::IdentityToken(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::Anonymous),
        // What docker's helpers print when they have nothing for this registry.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(Credentials::Anonymous)
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err("its credential helper does not run; is docker-credential-NAME in PATH?".to_owned())
        }
        Err(CredentialRetrievalError::ConfigReadError) => Err("the file is not valid JSON".to_owned()),
        Err(error) => Err(error.to_string().replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `user:secret` in base64.
    const AUTH: &str = "dXNlcjpzZWNyZXQ=";

    fn config(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn passwords_and_identity_tokens_are_found_by_registry() {
        let file = config(&format!(
            r#"{{"auths": {{
                "127.0.0.1:5000": {{"auth": "{AUTH}"}},
                "https://index.docker.io/v1/": {{"auth": "{AUTH}"}},
                "cloud.example": {{"auth": "{AUTH}", "identitytoken": "refresh me"}}
            }}}}"#
        ));
        let password = Credentials::Password { user: "user".to_owned(), password: "secret".to_owned() };
        assert!(read("127.0.0.1:5000", file.path()) == Ok(password.clone()));
        assert!(read("index.docker.io", file.path()) == Ok(password));
        assert!(
            read("cloud.example", file.path()) == Ok(Credentials::IdentityToken("refresh me".to_owned()))
        );
        assert!(read("other.example", file.path()) == Ok(Credentials::Anonymous));
    }

    #[test]
    fn a_missing_file_means_anonymous_and_a_broken_one_is_an_error() {
        assert!(read("r.example", Path::new("/nowhere/config.json")) == Ok(Credentials::Anonymous));
        assert!(read("r.example", config("{").path()).is_err());
        assert!(read("r.example", config(r#"{"auths": {"r.example": {"auth": "%"}}}"#).path()).is_err());
    }

    #[tokio::test]
    async fn the_error_names_the_registry_and_the_file() {
        let file = config(r#"{"credHelpers": {"r.example": "ft-test-that-does-not-exist"}}"#);
        let Err(error) = look_up("r.example", file.path()).await else { panic!("there is no such helper") };
        let text = error.to_string();
        assert!(text.contains("r.example") && text.contains(file.path().to_str().unwrap()), "{text}");
    }
}
