//! Owns bearer tokens: how they are made, kept in files that only their owner reads, and compared.

use std::fmt;
use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use subtle::ConstantTimeEq;

/// 256 bits: nobody guesses them.
const TOKEN_BYTES: usize = 32;

/// Shorter ones in a file are a mistake.
const TOKEN_CHARS_MIN: usize = 16;

const TOKEN_CHARS_MAX: usize = 512;

/// A token file or a token is not fit for use.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or written.
    #[error("{action} token file {path}", path = path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error(
        "token file {path} may be read by others (mode {mode:03o}): run `chmod 600 {path}`",
        path = path.display()
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not a token.
    #[error("token file {path}, line {line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it. Never the token itself.
        reason: &'static str,
    },
    /// There is none.
    #[error("token file {path} holds no token", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The machine gives no random numbers.
    #[error("no random numbers for a token: {reason}")]
    NoRandomness {
        /// Why.
        reason: String,
    },
}

/// A secret that proves who calls. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// If the machine gives no random numbers.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; TOKEN_BYTES];
        let filled = OsRng.try_fill_bytes(&mut bytes);
        filled.map_err(|error| TokenError::NoRandomness { reason: error.to_string() })?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Takes a token as text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() < TOKEN_CHARS_MIN {
            return Err("a token has at least 16 characters");
        }
        if text.len() > TOKEN_CHARS_MAX {
            return Err("a token has at most 512 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
            return Err("a token has only letters, digits and -._~+/=");
        }
        Ok(Self(text.to_owned()))
    }

    /// Takes a secret that another part of the cluster made, such as a capability, as it is.
    #[must_use]
    pub fn opaque(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one header or address it belongs in.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell how much of it was right.
    #[must_use]
    pub fn matches(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The tokens that a listener accepts, with the names that their owners go by.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    known: Vec<(String, Token)>,
}

impl Tokens {
    /// One token.
    #[must_use]
    pub fn one(name: impl Into<String>, token: Token) -> Self {
        Self { known: vec![(name.into(), token)] }
    }

    /// Reads a file of lines `TOKEN` or `NAME TOKEN`; empty lines and `#` comments are skipped. A
    /// token without a name gets `name`.
    ///
    /// # Errors
    /// If the file cannot be read, may be read by others, or a line is wrong.
    pub fn read(path: &Path, name: &str) -> Result<Self, TokenError> {
        let disk = |source| TokenError::Disk { action: "read", path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(disk)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::NotPrivate { path: path.to_owned(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(disk)?;
        Self::parse(&text, path, name)
    }

    /// The lines of a token file.
    pub(crate) fn parse(text: &str, path: &Path, name: &str) -> Result<Self, TokenError> {
        let mut known = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                |reason| TokenError::Line { path: path.to_owned(), line: index + 1, reason };
            let (name, secret) = match line.split_once(char::is_whitespace) {
                Some((name, secret)) => (name, secret.trim()),
                None => (name, line),
            };
            known.push((name.to_owned(), Token::parse(secret).map_err(wrong)?));
        }
        if known.is_empty() {
            return Err(TokenError::Empty { path: path.to_owned() });
        }
        Ok(Self { known })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The first one, which is what a program shows when it calls others.
    #[must_use]
    pub fn first(&self) -> Option<&Token> {
        self.known.first().map(|(_, token)| token)
    }

    /// Whose token this is. Always compares with all of them.
    #[must_use]
    pub fn owner(&self, shown: &str) -> Option<&str> {
        let mut owner = None;
        for (name, token) in &self.known {
            if token.matches(shown) {
                owner = Some(name.as_str());
            }
        }
        owner
    }
}

/// Reads the token in a file, or makes one there (mode 0600) if there is no file.
///
/// # Errors
/// As [`Tokens::read`], or if the file cannot be written.
pub fn read_or_create(path: &Path, name: &str) -> Result<Tokens, TokenError> {
    match std::fs::exists(path) {
        Ok(true) => Tokens::read(path, name),
        Ok(false) => {
            let token = Token::random()?;
            write(path, &token)?;
            Ok(Tokens::one(name, token))
        }
        Err(source) => Err(TokenError::Disk { action: "look for", path: path.to_owned(), source }),
    }
}

/// Writes a token to a new file of mode 0600, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, token: &Token) -> Result<(), TokenError> {
    let disk = |source| TokenError::Disk { action: "write", path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(disk)?;
    file.set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| writeln!(file, "{}", token.reveal()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k20_a_token_file_is_private_and_round_trips() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let made = read_or_create(&path, "dev").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let read = read_or_create(&path, "dev").unwrap();
        let secret = made.first().unwrap().reveal();
        assert_eq!((secret.len(), read.owner(secret)), (64, Some("dev")));
        assert_eq!(read.owner(&secret[1..]), None);
        assert!(!format!("{made:?}").contains(secret));

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = Tokens::read(&path, "dev").unwrap_err().to_string();
        assert!(refused.contains("may be read by others (mode 640)"), "{refused}");
    }

    #[test]
    fn lines_have_names_and_errors_do_not_show_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, "# people\n\nann 0123456789abcdef0\nbob  fedcba98765432100\n")
            .unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let tokens = Tokens::read(&path, "x").unwrap();
        assert_eq!(tokens.owner("fedcba98765432100"), Some("bob"));
        std::fs::write(&path, "ann 0123456789abcdef0\nbob s3cret\n").unwrap();
        let refused = Tokens::read(&path, "x").unwrap_err().to_string();
        assert!(refused.contains("line 2") && !refused.contains("s3cret"), "{refused}");
    }
}
