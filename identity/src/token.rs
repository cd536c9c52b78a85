//! Bearer tokens.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::Digest as _;

use crate::{Error, Result};

const PREFIX: &str = "ft1";
const BYTES: usize = 32;

/// A bearer token: the manager's authority, so that the bearer knows whom to show the secret to, and the secret.
///
/// Its text form is `ft1.CA.SECRET`: the SHA-256 of the authority's certificate and the secret, 32 bytes
/// each, in base64url without padding. What the secret is good for (joining, or a client's role) and until
/// when, the manager knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the authority's certificate in DER.
    pub ca_sha256: [u8; BYTES],
    /// What the bearer shows.
    pub secret: Secret,
}

/// 32 random bytes. Comparing takes the same time wherever two secrets differ.
#[derive(Clone, Eq)]
pub struct Secret([u8; BYTES]);

impl Token {
    /// A token with a new random secret.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate(ca_sha256: [u8; BYTES]) -> Result<Self> {
        let mut secret = [0; BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self { ca_sha256, secret: Secret(secret) })
    }
}

impl Secret {
    /// SHA-256 of the secret: what a verifier stores, since a secret of 256 random bits needs no salt.
    pub fn sha256(&self) -> [u8; BYTES] {
        sha2::Sha256::digest(self.0).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}.{}.…)", BASE64.encode(self.ca_sha256))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", BASE64.encode(self.ca_sha256), BASE64.encode(self.secret.0))
    }
}

impl FromStr for Token {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(ca), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::BadToken("expected ft1.CA.SECRET, as the manager printed it"));
        };
        Ok(Self { ca_sha256: decode(ca)?, secret: Secret(decode(secret)?) })
    }
}

fn decode(text: &str) -> Result<[u8; BYTES]> {
    let bytes = BASE64.decode(text).map_err(|_| Error::BadToken("a part is not base64url"))?;
    bytes.try_into().map_err(|_| Error::BadToken("a part has not 32 bytes: was it cut off?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let token = Token::generate([7; 32]).unwrap();
        let text = token.to_string();
        assert_eq!(format!("{text}\n").parse::<Token>().unwrap(), token);
        assert_ne!(Token::generate([7; 32]).unwrap(), token);
    }

    #[test]
    fn debug_keeps_the_secret() {
        let token = Token::generate([7; 32]).unwrap();
        let secret = BASE64.encode(token.secret.0);
        assert!(!format!("{token:?} {:?}", token.secret).contains(&secret));
    }

    #[test]
    fn broken_tokens_are_refused() {
        let text = Token::generate([7; 32]).unwrap().to_string();
        for broken in [&text[..text.len() - 1], &text[1..], "", "ft1..", "ft1.a.b", &format!("{text}.x")] {
            assert!(broken.parse::<Token>().is_err(), "{broken:?} was accepted");
        }
    }
}
