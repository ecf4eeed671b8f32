//! Owns the question whether an address may be opened: never without TLS where others can reach it,
//! never without a principal for every caller (K20).

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;

use super::gate::GateConfig;
use super::origin::Hosts;
use super::tls::{TlsError, TlsFiles, server_config};
use super::token::Tokens;

/// What a program was told about its listener.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// `--listen`.
    pub address: SocketAddr,
    /// `--tls-cert`, `--tls-key`, `--tls-client-ca`.
    pub tls: Option<TlsFiles>,
    /// `--insecure`: let anybody in, on any address, with TLS or without.
    pub insecure: bool,
    /// The secrets that are accepted.
    pub tokens: Tokens,
}

/// An address is not opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Others could read and write along.
    #[error(
        "refusing to listen on {address} without TLS: give --tls-cert, --tls-key and \
         --tls-client-ca, or --insecure if everybody who reaches it may do everything"
    )]
    NotProtected {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Nobody could prove who he is.
    #[error("refusing to listen on {address} without a token or TLS: give a token file")]
    NoProof {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The certificates are not usable.
    #[error("the certificates of {address} cannot be used")]
    Tls {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: TlsError,
    },
    /// The machine refused.
    #[error("listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// An open address, ready for [`super::serve`].
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    address: SocketAddr,
    config: ListenConfig,
}

/// Whether this address may be opened this way.
///
/// # Errors
/// Why not, in words for whoever gave the flags.
pub fn check(config: &ListenConfig) -> Result<(), ListenError> {
    let address = config.address;
    if config.insecure || config.tls.is_some() {
        return Ok(());
    }
    if !address.ip().is_loopback() {
        return Err(ListenError::NotProtected { address });
    }
    if config.tokens.is_empty() {
        return Err(ListenError::NoProof { address });
    }
    Ok(())
}

impl Listener {
    /// Opens the address if it may be opened.
    ///
    /// # Errors
    /// Why not.
    pub async fn bind(config: ListenConfig) -> Result<Self, ListenError> {
        check(&config)?;
        let address = config.address;
        let tls = config.tls.as_ref().map(server_config).transpose();
        let tls = tls.map_err(|source| ListenError::Tls { address, source })?;
        let bound = TcpListener::bind(address).await;
        let socket = bound.map_err(|source| ListenError::Bind { address, source })?;
        let address =
            socket.local_addr().map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { socket, tls, address, config })
    }

    /// Where it listens, with the port that the machine chose if zero was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…` or `https://…`, as a client on this machine reaches it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(&self.address.to_string())
    }

    /// The same at another of its addresses, `HOST:PORT`.
    #[must_use]
    pub fn url_at(&self, authority: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{authority}")
    }

    /// Whether it lets in callers without proof, which the program shows wherever it shows itself.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.config.insecure
    }

    /// The part of a gate that follows from how the address was opened. `browser`: whether people
    /// look at pages here.
    #[must_use]
    pub fn gate_config(&self, browser: bool) -> GateConfig {
        let rebinding_matters = self.address.ip().is_loopback() && self.tls.is_none();
        GateConfig {
            tokens: self.config.tokens.clone(),
            insecure: self.config.insecure,
            hosts: if rebinding_matters { Hosts::Loopback } else { Hosts::Any },
            // Browsers share cookies between all ports of an address.
            cookie: browser.then(|| format!("proffer-{}", self.address.port())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::token::Token;

    fn config(address: &str) -> ListenConfig {
        ListenConfig {
            address: address.parse().unwrap(),
            tls: None,
            insecure: false,
            tokens: Tokens::default(),
        }
    }

    #[test]
    fn k20_no_address_is_opened_without_protection() {
        for open in ["0.0.0.0:0", "10.1.2.3:7410", "[::]:0"] {
            let refused = check(&config(open)).unwrap_err().to_string();
            assert!(refused.contains("--tls-cert") && refused.contains("--insecure"), "{refused}");
            let with_token = ListenConfig {
                tokens: Tokens::one("dev", Token::random().unwrap()),
                ..config(open)
            };
            assert!(matches!(check(&with_token), Err(ListenError::NotProtected { .. })));
            assert!(check(&ListenConfig { insecure: true, ..config(open) }).is_ok());
            let file = PathBuf::from("x.pem");
            let tls = TlsFiles { certificate: file.clone(), key: file.clone(), client_ca: file };
            assert!(check(&ListenConfig { tls: Some(tls), ..config(open) }).is_ok());
        }
        assert!(matches!(check(&config("127.0.0.1:0")), Err(ListenError::NoProof { .. })));
    }
}
