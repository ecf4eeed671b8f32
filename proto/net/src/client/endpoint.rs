//! Owns where to call: a list of addresses, a token, whom to trust.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::connector::Protocol;
use crate::proof::Proof;
use crate::tls::{ClientTlsFiles, TlsError, client_config};
use crate::token::Token;

/// One address: `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    tls: Option<bool>,
    host: String,
    port: u16,
}

/// A text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}; write HOST:PORT or https://HOST:PORT")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError { text: text.to_owned(), reason };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(_) => return Err(wrong("the scheme is neither http nor https")),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
        let port = port.parse().map_err(|_| wrong("the port is not a number up to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains(['/', '@', '?', '#', '[', ']', ' ']) {
            return Err(wrong("the host is not a name or an IP address"));
        }
        if bare.is_none() && host.contains(':') {
            return Err(wrong("an IPv6 address stands in brackets"));
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl Address {
    /// Name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls {
            Some(true) => write!(f, "https://{}", self.authority()),
            Some(false) => write!(f, "http://{}", self.authority()),
            None => f.write_str(&self.authority()),
        }
    }
}

/// Where to call and how to prove who we are.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addresses: Vec<Address>,
    proof: Proof,
    tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// Reads a list such as `PROFFER_ADDR`: addresses, separated by commas.
    ///
    /// # Errors
    /// Which of them is wrong.
    pub fn parse(addresses: &str) -> Result<Self, AddressError> {
        let texts = addresses.split(',').map(str::trim).filter(|text| !text.is_empty());
        let addresses: Vec<Address> = texts.map(str::parse).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            let reason = "there is none";
            return Err(AddressError { text: String::new(), reason });
        }
        Ok(Self { addresses, proof: Proof::Nothing, tls: None })
    }

    /// These addresses, in this order.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(addresses: Vec<Address>) -> Self {
        assert!(!addresses.is_empty(), "an endpoint has an address");
        Self { addresses, proof: Proof::Nothing, tls: None }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(self, token: Option<Token>) -> Self {
        self.with_proof(token.map_or(Proof::Nothing, Proof::Token))
    }

    /// The same with another proof of who calls.
    #[must_use]
    pub fn with_proof(mut self, proof: Proof) -> Self {
        self.proof = proof;
        self
    }

    /// The same with certificates. Addresses without a scheme then mean `https`.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn with_tls(mut self, files: Option<&ClientTlsFiles>) -> Result<Self, TlsError> {
        self.tls = files.map(client_config).transpose()?.map(Arc::new);
        Ok(self)
    }

    /// The same for other addresses, as when a master names the leader. An empty list changes nothing.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Vec<Address>) -> Self {
        if !addresses.is_empty() {
            self.addresses = addresses;
        }
        self
    }

    /// The same for the leader that a master named. `None` when that is no address, or one where what
    /// has been encrypted so far would be sent in plain text.
    #[must_use]
    pub fn toward(&self, leader: &str) -> Option<Self> {
        let address: Address = leader.parse().ok()?;
        let is_plain = address.tls == Some(false);
        let was_plain = self.tls.is_none() || self.addresses.iter().any(|a| a.tls == Some(false));
        (was_plain || !is_plain).then(|| self.clone().with_addresses(vec![address]))
    }

    /// In the order in which to try them.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn speaking(mut self, protocol: Protocol) -> Self {
        self.tls = self.tls.map(|tls| {
            let mut config = ClientConfig::clone(&tls);
            config.alpn_protocols = vec![match protocol {
                Protocol::Http1 => b"http/1.1".to_vec(),
                Protocol::Http2 => b"h2".to_vec(),
            }];
            Arc::new(config)
        });
        self
    }

    /// What to show right now. Asked for at each attempt: files change, and masters come and go.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.proof.token(&self.addresses)
    }

    /// The TLS to use with an address; `None` for plain text.
    pub(crate) fn tls_of(&self, address: &Address) -> Result<Option<Arc<ClientConfig>>, NoTls> {
        match (address.tls, &self.tls) {
            (Some(false), _) | (None, None) => Ok(None),
            (Some(true) | None, Some(tls)) => Ok(Some(Arc::clone(tls))),
            (Some(true), None) => Err(NoTls),
        }
    }
}

/// An `https` address, and nobody said whom to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an https address needs the certificate of the CA that signed it")]
pub struct NoTls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["127.0.0.1:7410", "https://m1.example:7410", "http://[::1]:80", "localhost:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let list = Endpoint::parse("a:1, https://b:2/ ,").unwrap();
        let shown: Vec<_> = list.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:1", "https://b:2"]);
    }

    #[test]
    fn k20_a_leader_is_followed_to_no_address_that_is_less_safe() {
        crate::tls::install_crypto();
        let roots = rustls::RootCertStore::empty();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let plain = Endpoint::parse("a:1").unwrap();
        let safe = Endpoint { tls: Some(Arc::new(tls)), ..plain.clone() };
        assert_eq!(plain.toward("http://b:2").unwrap().addresses()[0].to_string(), "http://b:2");
        assert!(plain.toward("ask another one").is_none());
        assert!(safe.toward("http://b:2").is_none());
        assert!(safe.toward("https://b:2").is_some() && safe.toward("b:2").is_some());
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for text in
            ["", "a", "a:b", "a:70000", "ftp://a:1", "http://u@a:1", "::1:80", "http://a/b:1", ":1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let error = Endpoint::parse("a:1,b").unwrap_err().to_string();
        assert!(error.contains("\"b\" is not an address: there is no port"), "{error}");
        assert!(Endpoint::parse(" , ").is_err());
    }
}
