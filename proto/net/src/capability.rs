//! Owns capabilities: a short right to read one container's sandbox at one agent, signed by the leader
//! with that agent's key (K20). Shown as a bearer token.
//!
//! Text: `CONTAINER.EXPIRES.SIGNATURE`, with the expiry in seconds since 1970 and the HMAC-SHA-256 of
//! what stands before the last dot, in hex.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Signs the right to read `container` until `expires_at` (seconds since 1970).
#[must_use]
pub fn sign(key: &[u8], container: &str, expires_at: u64) -> String {
    let claim = format!("{container}.{expires_at}");
    let signature = hex(&hmac_sha256(key, claim.as_bytes()));
    format!("{claim}.{signature}")
}

/// The container that `text` gives the right to read now; `None` if it was not signed with `key` or
/// has expired.
#[must_use]
pub fn verify<'a>(key: &[u8], text: &'a str, now: u64) -> Option<&'a str> {
    let (claim, signature) = text.rsplit_once('.')?;
    let (container, expires_at) = claim.rsplit_once('.')?;
    let expected = hex(&hmac_sha256(key, claim.as_bytes()));
    let signed: bool = expected.as_bytes().ct_eq(signature.as_bytes()).into();
    (signed && !key.is_empty() && expires_at.parse::<u64>().ok()? > now).then_some(container)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        let code = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&code), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long =
            hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn k20_a_capability_opens_one_container_for_a_while() {
        let text = sign(b"key", "f1-2-3", 1000);
        assert_eq!(verify(b"key", &text, 999), Some("f1-2-3"));
        assert_eq!(verify(b"key", &text, 1000), None, "expired");
        assert_eq!(verify(b"other", &text, 999), None);
        assert_eq!(verify(b"key", &text.replace("f1-2-3", "f1-2-4"), 999), None);
        assert_eq!(verify(b"key", &text.replace(".1000.", ".9999."), 999), None);
        assert_eq!(verify(b"", &sign(b"", "f1-2-3", 1000), 999), None, "no key, no right");
        for broken in ["", ".", "..", "a.b", "a.b.c", "f1-2-3.1000."] {
            assert_eq!(verify(b"key", broken, 999), None, "{broken}");
        }
    }
}
