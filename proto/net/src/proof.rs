//! Owns what a caller shows of itself beside a certificate, and where it comes from: looked at anew for
//! each attempt, so that a master that was restarted finds its agents and frameworks again.

use std::path::{Path, PathBuf};

use crate::client::Address;
use crate::local;
use crate::token::{Token, TokenError, Tokens};

/// Where the token comes from.
#[derive(Clone, Debug, Default)]
pub enum Proof {
    /// None is shown.
    #[default]
    Nothing,
    /// This one.
    Token(Token),
    /// The first of this file.
    File(PathBuf),
    /// What the master at the address has left on this machine; see [`crate::local`].
    Local,
}

impl Proof {
    /// The token of a file that was named; else the certificate has to do; else what a master has left.
    ///
    /// # Errors
    /// If the file cannot be used now.
    pub fn choose(file: Option<&Path>, has_certificate: bool) -> Result<Self, TokenError> {
        match file {
            Some(path) => Tokens::read(path, "").map(|_| Self::File(path.to_owned())),
            None if has_certificate => Ok(Self::Nothing),
            None => Ok(Self::Local),
        }
    }

    pub(crate) fn token(&self, addresses: &[Address]) -> Option<Token> {
        match self {
            Self::Nothing => None,
            Self::Token(token) => Some(token.clone()),
            Self::File(path) => match Tokens::read(path, "") {
                Ok(tokens) => tokens.first().cloned(),
                Err(error) => {
                    tracing::warn!(%error, "no token is shown");
                    None
                }
            },
            Self::Local => local::find(addresses),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_masters_file_of_names_and_tokens_serves_its_callers_and_is_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("# people\nann 0123456789abcdef0\nbob fedcba98765432100\n");
        let proof = Proof::choose(Some(&path), true).unwrap();
        assert!(proof.token(&[]).unwrap().matches("0123456789abcdef0"));
        write("fedcba98765432100\n");
        assert!(proof.token(&[]).unwrap().matches("fedcba98765432100"));
        write("");
        assert!(proof.token(&[]).is_none() && Proof::choose(Some(&path), false).is_err());
        // A certificate is proof enough: no token that lies about goes before it.
        assert!(matches!(Proof::choose(None, true), Ok(Proof::Nothing)));
        assert!(matches!(Proof::choose(None, false), Ok(Proof::Local)));
    }
}
