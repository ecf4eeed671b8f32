//! Capabilities: short rights to one container, signed by the leader with this agent's key (K20).
//!
//! Shown as `Authorization: Capability CLAIM.SIGNATURE`: the claim is unpadded base64url of
//! `{"container": ID, "verbs": [..], "expires": SECONDS}`, the signature the HMAC-SHA-256 of the
//! claim's text in hex. A bearer token of [`proffer_net::capability`], which masters put on requests
//! that they pass on, is the same right for reading only.

use axum::http::{HeaderMap, header};
use proffer_types::ids::ContainerId;
use proffer_types::refusal::{Refusal, RefusalCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// What may be done to a container.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Read its output.
    Logs,
    /// Read its sandbox.
    Files,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Files => "files",
        }
    }
}

/// What a capability claims. Verbs are text, so that one of a later version is no error (K5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Claim {
    container: ContainerId,
    verbs: BTreeSet<String>,
    expires: u64,
}

/// Longest header that is looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// Signs a right until `expires` (seconds since 1970); the whole header value.
#[must_use]
pub fn sign(key: &[u8], container: &ContainerId, verbs: &[Verb], expires: u64) -> String {
    let verbs = verbs.iter().map(|verb| verb.name().to_owned()).collect();
    let claim = Claim { container: container.clone(), verbs, expires };
    let json = serde_json::to_vec(&claim).expect("plain data serialises");
    let claim = base64_url(&json);
    let signature = hex(&hmac_sha256(key, claim.as_bytes()));
    format!("Capability {claim}.{signature}")
}

/// Whether these headers give the right to do `verb` to `container` now.
///
/// # Errors
/// Why not; never what was right about it.
pub(crate) fn check(
    headers: &HeaderMap,
    key: &[u8],
    container: &ContainerId,
    verb: Verb,
) -> Result<(), Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.filter(|text| text.len() <= TEXT_BYTES_MAX);
    let (scheme, text) = shown.and_then(|text| text.split_once(' ')).ok_or_else(unproven)?;
    let granted = if scheme.eq_ignore_ascii_case("capability") {
        verify(key, text, now)
            .filter(|claim| claim.verbs.contains(verb.name()))
            .map(|claim| claim.container)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        proffer_net::capability::verify(key, text, now)
            .and_then(|container| ContainerId::new(container).ok())
    } else {
        None
    };
    match granted {
        Some(granted) if granted == *container => Ok(()),
        Some(_) | None => Err(unproven()),
    }
}

fn unproven() -> Refusal {
    let message = "the call shows no valid capability for this container";
    Refusal::new(RefusalCode::Unauthenticated, "authorization", message)
        .hint("ask the master: it passes requests for tasks on")
}

fn verify(key: &[u8], text: &str, now: u64) -> Option<Claim> {
    let (claim, signature) = text.trim().split_once('.')?;
    let expected = hex(&hmac_sha256(key, claim.as_bytes()));
    let signed: bool = expected.as_bytes().ct_eq(signature.as_bytes()).into();
    if !signed || key.is_empty() {
        return None;
    }
    let claim: Claim = serde_json::from_slice(&base64_url_decode(claim)?).ok()?;
    (claim.expires > now).then_some(claim)
}

/// RFC 2104 over SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648 section 5, without padding.
fn base64_url(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte));
        let bits = group.len() * 8;
        let word = word << (24 - bits);
        for index in 0..=group.len() {
            let sextet = (word >> (18 - 6 * index)) & 63;
            out.push(char::from(ALPHABET[sextet as usize]));
        }
    }
    out
}

fn base64_url_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut word = 0u32;
        for byte in group {
            let sextet = ALPHABET.iter().position(|letter| letter == byte)?;
            word = (word << 6) | u32::try_from(sextet).ok()?;
        }
        let bits = group.len() * 6;
        if bits < 8 {
            return None;
        }
        let word = word << (24 - bits);
        let [_, bytes @ ..] = word.to_be_bytes();
        out.extend_from_slice(&bytes[..bits / 8]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, text.parse().unwrap());
        headers
    }

    fn id(text: &str) -> ContainerId {
        ContainerId::new(text).unwrap()
    }

    #[test]
    fn k20_a_capability_opens_one_container_for_its_verbs_until_it_expires() {
        let far = 1 << 40;
        let good = sign(b"key", &id("f1-1-2"), &[Verb::Logs], far);
        let ok = |text: &str, key: &[u8], container: &str, verb| {
            check(&headers(text), key, &id(container), verb).is_ok()
        };
        assert!(ok(&good, b"key", "f1-1-2", Verb::Logs));
        assert!(!ok(&good, b"key", "f1-1-2", Verb::Files), "another verb");
        assert!(!ok(&good, b"key", "f1-1-3", Verb::Logs), "another container");
        assert!(!ok(&good, b"other", "f1-1-2", Verb::Logs), "another agent's key");
        assert!(!ok(&sign(b"", &id("f1-1-2"), &[Verb::Logs], far), b"", "f1-1-2", Verb::Logs));
        assert!(!ok(&sign(b"key", &id("f1-1-2"), &[Verb::Logs], 1), b"key", "f1-1-2", Verb::Logs));
        for broken in ["Capability", "Capability ", "Capability a.b", "Capability .", "Basic x"] {
            assert!(!ok(broken, b"key", "f1-1-2", Verb::Logs), "{broken}");
        }
        assert!(check(&HeaderMap::new(), b"key", &id("f1-1-2"), Verb::Logs).is_err());
    }

    #[test]
    fn what_a_master_passes_on_reads_only_its_container() {
        let text = format!("Bearer {}", proffer_net::capability::sign(b"key", "f1-1-2", 1 << 40));
        for verb in [Verb::Logs, Verb::Files] {
            assert!(check(&headers(&text), b"key", &id("f1-1-2"), verb).is_ok());
            assert!(check(&headers(&text), b"key", &id("f1-1-3"), verb).is_err());
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("~~?", "fn4_"),
        ] {
            assert_eq!(base64_url(plain.as_bytes()), encoded);
            assert_eq!(base64_url_decode(encoded).unwrap(), plain.as_bytes());
        }
        assert_eq!(base64_url_decode("A"), None);
        assert_eq!(base64_url_decode("Zg=="), None);
    }
}
