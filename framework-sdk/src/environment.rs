//! Options from the environment: the same variables, with the same meaning, as those of `proffer`.

use crate::runtime::Options;
use proffer_net::client::AddressError;
use proffer_net::tls::{ClientTlsFiles, TlsError};
use proffer_net::{Endpoint, Proof, TokenError};
use std::path::PathBuf;

/// Where a master listens when nothing else is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7330";

/// The environment does not say how to reach a master.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `PROFFER_ADDR` is not a list of addresses.
    #[error("read PROFFER_ADDR")]
    Address(#[source] AddressError),
    /// The token file holds no token for us.
    #[error("use the file that PROFFER_TOKEN_FILE names")]
    TokenFile(#[source] TokenError),
    /// The certificates cannot be used.
    #[error("use the certificates that PROFFER_TLS_CA and its companions name")]
    Tls(#[source] TlsError),
}

impl Options {
    /// Options from `PROFFER_ADDR`, `PROFFER_TOKEN_FILE`, `PROFFER_TLS_CA`,
    /// `PROFFER_TLS_IDENTITY_CERT` and `PROFFER_TLS_IDENTITY_KEY`. Without any of them: a master on
    /// this machine, with the token that it left for its own user, such as `proffer dev` does.
    ///
    /// # Errors
    /// What cannot be read or used.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        let addresses = std::env::var("PROFFER_ADDR").unwrap_or(DEFAULT_ADDRESS.to_owned());
        let endpoint = Endpoint::parse(&addresses).map_err(EnvironmentError::Address)?;
        let identity =
            path_in("PROFFER_TLS_IDENTITY_CERT").zip(path_in("PROFFER_TLS_IDENTITY_KEY"));
        let token_file = path_in("PROFFER_TOKEN_FILE");
        let proof = Proof::choose(token_file.as_deref(), identity.is_some())
            .map_err(EnvironmentError::TokenFile)?;
        let tls = path_in("PROFFER_TLS_CA").map(|ca| ClientTlsFiles { ca, identity });
        let endpoint = endpoint.with_tls(tls.as_ref()).map_err(EnvironmentError::Tls)?;
        Ok(Self::new(endpoint.with_proof(proof)))
    }
}

fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}
