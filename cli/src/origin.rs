//! Opening origins with the right credentials.

use std::sync::Arc;

use ft_blockstore::{Origin, OriginContext, open_origin};
use ft_identity::{ALPN_H2, ALPN_HTTP1, ExpectedPeer, client_config};

use crate::args::ConvertArgs;
use crate::client::Credential;
use crate::convert::registry_options;
use crate::failure::{Failure, Kind};

/// Opens the origin `spec`; an empty one is the origin beside the manager, spoken to with the credential.
pub(crate) fn open(
    spec: &str,
    credential: &Credential,
    args: &ConvertArgs,
) -> Result<Arc<dyn Origin>, Failure> {
    let registry = registry_options(args);
    let (spec, tls) = match spec {
        "" => {
            let alpn = [ALPN_H2, ALPN_HTTP1];
            let identity = Some(credential.identity()?);
            let tls = client_config(&credential.roots()?, identity, ExpectedPeer::Manager, &alpn)
                .map_err(|error| Failure::new(Kind::NotAllowed, error))?;
            (credential.origin.as_str(), Some(tls))
        }
        spec => (spec, None),
    };
    open_origin(spec, &OriginContext { tls, registry }).map_err(|error| Failure::new(Kind::Usage, error))
}
