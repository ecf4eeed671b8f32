//! Options from the environment: the same variables, with the same meaning, as those of `proffer`.

use crate::runtime::Options;
use proffer_net::client::AddressError;
use proffer_net::tls::{ClientTlsFiles, TlsError};
use proffer_net::{Endpoint, Token};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where a master listens when nothing else is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7330";

/// The environment does not say how to reach a master.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// `PROFFER_ADDR` is not a list of addresses.
    #[error("read PROFFER_ADDR")]
    Address(#[source] AddressError),
    /// The token file cannot be read.
    #[error("read the token file {path}")]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token file holds no token.
    #[error("the token file {path} holds no token: {why}")]
    Token {
        /// Which.
        path: PathBuf,
        /// The rule it breaks.
        why: &'static str,
    },
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
        let tls = path_in("PROFFER_TLS_CA").map(|ca| ClientTlsFiles {
            ca,
            identity: path_in("PROFFER_TLS_IDENTITY_CERT").zip(path_in("PROFFER_TLS_IDENTITY_KEY")),
        });
        let token = path_in("PROFFER_TOKEN_FILE")
            .or_else(|| left_by_master(&endpoint))
            .map(read_token)
            .transpose()?;
        let endpoint = endpoint.with_tls(tls.as_ref()).map_err(EnvironmentError::Tls)?;
        Ok(Self::new(endpoint.with_token(token)))
    }
}

fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The token of a master of this user on this machine, found by its port.
fn left_by_master(endpoint: &Endpoint) -> Option<PathBuf> {
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    let directory = match (user, std::env::var_os("XDG_RUNTIME_DIR")) {
        (0, _) => PathBuf::from("/run/proffer"),
        (_, Some(directory)) => PathBuf::from(directory).join("proffer"),
        (_, None) => std::env::temp_dir().join(format!("proffer-{user}")),
    };
    let names = endpoint.addresses().iter().map(|address| format!("{}.token", address.port()));
    names.map(|name| directory.join(name)).find(|path| path.exists())
}

fn read_token(path: PathBuf) -> Result<Token, EnvironmentError> {
    let text = std::fs::read_to_string(&path)
        .map_err(|source| EnvironmentError::TokenFile { path: path.clone(), source })?;
    Token::parse(text.trim()).map_err(|why| EnvironmentError::Token { path, why })
}
