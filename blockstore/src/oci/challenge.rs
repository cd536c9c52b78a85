//! How a registry says that it wants credentials: the `WWW-Authenticate` header.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from the server at `realm`.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The strongest challenge that is understood: a token before a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Self> = texts.flat_map(Self::parse_all).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(challenges.first()).cloned()
    }

    fn parse_all(text: &str) -> Vec<Self> {
        let challenges = http_auth::parse_challenges(text).unwrap_or_default();
        challenges.iter().filter_map(Self::parse).collect()
    }

    fn parse(challenge: &http_auth::ChallengeRef<'_>) -> Option<Self> {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("bearer") {
            Some(Self::Bearer { realm: parameter("realm")?, service: parameter("service") })
        } else if challenge.scheme.eq_ignore_ascii_case("basic") {
            Some(Self::Basic)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_token_is_preferred_whichever_way_it_is_offered() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry.example".to_owned()),
        };
        let text = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="a,b""#;
        let both =
            r#"Basic realm="x", BEARER service="registry.example", realm="https://auth.example/token""#;
        assert_eq!(of(&[text]), Some(bearer.clone()));
        assert_eq!(of(&["Basic realm=\"x\"", text]), Some(bearer.clone()));
        assert_eq!(of(&[both]), Some(bearer));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Digest realm=\"x\"", "Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Bearer service=\"no realm\""]), None);
        assert_eq!(of(&["\"\"=,,"]), None);
        assert_eq!(of(&[]), None);
    }
}
