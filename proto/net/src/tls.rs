//! Owns certificates: reading them from files, the configuration of both ends, and the name in one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;

/// Where the certificates of a listener are: `--tls-cert`, `--tls-key`, `--tls-client-ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, with what leads to its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates to accept from agents, frameworks and operators.
    pub client_ca: PathBuf,
}

/// A client's side: whom to trust, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTlsFiles {
    /// Signed the servers.
    pub ca: PathBuf,
    /// Our certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as what it should be.
    #[error("read {what} from {path}: {reason}", path = path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// They do not belong together or are not accepted.
    #[error("use the certificates: {reason}")]
    Unusable {
        /// Why not.
        reason: String,
    },
}

/// Makes ring the cryptography of this process, for libraries that do not say which they want. A second
/// call changes nothing.
pub fn install_crypto() {
    // It fails only if there is one already, and all of ours are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// HTTP/2 and HTTP/1.1, so that browsers and gRPC use the same port.
fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The listener's side. Clients may come without a certificate, as browsers do; one that is shown has
/// to be signed by the client CA. The gate decides what they may do.
///
/// # Errors
/// If a file cannot be read or used.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(read_roots(&files.client_ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(read_chain(&files.certificate)?, read_key(&files.key)?)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// The caller's side.
///
/// # Errors
/// If a file cannot be read or used.
pub fn client_config(files: &ClientTlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(read_roots(&files.ca)?);
    match &files.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(read_chain(certificate)?, read_key(key)?)
            .map_err(|error| unusable(&error)),
    }
}

fn unusable(error: &impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { reason: error.to_string() }
}

fn file_error(what: &'static str, path: &Path, error: &impl std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), reason: error.to_string() }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "a certificate";
    let read = CertificateDer::pem_file_iter(path).map_err(|e| file_error(what, path, &e))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| file_error(what, path, &e))?;
    if chain.is_empty() {
        return Err(file_error(what, path, &"there is none in it"));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error("a private key", path, &error))
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| file_error("a CA certificate", path, &error))?;
    }
    Ok(roots)
}

/// The name that a verified certificate goes by: its first `proffer://` URI, else its first URI, else
/// its first DNS name. `None` if it has none of them.
#[must_use]
pub fn subject_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let names = &names.value.general_names;
    let uris = || names.iter().filter_map(uri_of);
    let dns = names.iter().find_map(dns_of);
    let ours = uris().find(|uri| uri.starts_with("proffer://"));
    ours.or_else(|| uris().next()).or(dns).map(str::to_owned)
}

fn uri_of<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name { Some(uri) } else { None }
}

fn dns_of<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(dns) = name { Some(dns) } else { None }
}
