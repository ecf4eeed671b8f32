//! Owns who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who calls. Its text is what records hold and rules name: `token:dev`, `cert:proffer://agent/a7`,
/// `master`, `insecure`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// Showed the secret of this name.
    Token(String),
    /// Showed a certificate with this subject alternative name.
    Certificate(String),
    /// Showed a capability that the leading master signed.
    Master,
    /// Showed nothing, on a listener that was opened with `--insecure`.
    Insecure,
}

/// What a certificate says its owner is, by a URI such as `proffer://agent/rack-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// `proffer://operator/NAME`, and every token.
    Operator,
    /// `proffer://agent/NAME`.
    Agent,
    /// `proffer://framework/NAME`.
    Framework,
    /// `proffer://master/NAME`, and every capability.
    Master,
    /// A certificate with another kind of name: some part of the cluster, it does not say which.
    Member,
}

impl Principal {
    /// What the principal is, as far as it says so.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        match self {
            Self::Token(_) | Self::Insecure => PrincipalKind::Operator,
            Self::Certificate(name) => kind_of_name(name),
            Self::Master => PrincipalKind::Master,
        }
    }
}

fn kind_of_name(name: &str) -> PrincipalKind {
    let Some((kind, _)) = name.strip_prefix("proffer://").and_then(|rest| rest.split_once('/'))
    else {
        return PrincipalKind::Member;
    };
    match kind {
        "operator" => PrincipalKind::Operator,
        "agent" => PrincipalKind::Agent,
        "framework" => PrincipalKind::Framework,
        "master" => PrincipalKind::Master,
        _ => PrincipalKind::Member,
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Certificate(name) => write!(f, "cert:{name}"),
            Self::Master => f.write_str("master"),
            Self::Insecure => f.write_str("insecure"),
        }
    }
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Readable by whoever is on the way.
    Plain,
    /// Encrypted, the server known.
    Tls,
}

/// The other end of a call. The gate puts it into the extensions of every request, for axum
/// (`Extension<Peer>`) and tonic (`request.extensions().get::<Peer>()`) alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub principal: Principal,
    /// How it is connected.
    pub transport: Transport,
    /// From where.
    pub remote: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k20_certificates_say_what_they_are_for() {
        let kind = |name: &str| Principal::Certificate(name.to_owned()).kind();
        assert_eq!(kind("proffer://agent/a7"), PrincipalKind::Agent);
        assert_eq!(kind("proffer://operator/ann"), PrincipalKind::Operator);
        assert_eq!(kind("proffer://operator"), PrincipalKind::Member);
        assert_eq!(kind("operator.example.com"), PrincipalKind::Member);
        assert_eq!(Principal::Token("dev".into()).to_string(), "token:dev");
    }
}
