//! Owns capabilities: a short right to do one thing with one container at one agent, or to call one
//! framework's API, signed by the leader with that agent's or framework's key (K20). Shown as a bearer
//! token. Whoever gets one can use it at nobody but himself.
//!
//! Text: `RIGHT.OBJECT.EXPIRES.SIGNATURE`, with the expiry in seconds since 1970 and the HMAC-SHA-256
//! of what stands before the last dot, in hex.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Read its output.
    Logs,
    /// Read its sandbox.
    Files,
    /// Call a framework's API as the leading master.
    Call,
}

impl Right {
    const fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Files => "files",
            Self::Call => "call",
        }
    }
}

/// Signs a right until `expires_at` (seconds since 1970).
#[must_use]
pub fn sign(key: &[u8], right: Right, object: &str, expires_at: u64) -> String {
    let claim = format!("{}.{object}.{expires_at}", right.name());
    let signature = hex(&hmac_sha256(key, claim.as_bytes()));
    format!("{claim}.{signature}")
}

/// Whether `text` gives the right to do this to `object` now: it was signed with `key` for just
/// that and has not expired.
#[must_use]
pub fn verify(key: &[u8], text: &str, right: Right, object: &str, now: u64) -> bool {
    let Some((claim, signature)) = text.rsplit_once('.') else { return false };
    let expected = hex(&hmac_sha256(key, claim.as_bytes()));
    let signed: bool = expected.as_bytes().ct_eq(signature.as_bytes()).into();
    let granted = claim.rsplit_once('.').is_some_and(|(granted, expires_at)| {
        granted.split_once('.') == Some((right.name(), object))
            && expires_at.parse::<u64>().is_ok_and(|expires_at| expires_at > now)
    });
    signed && granted && !key.is_empty()
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
    fn k20_a_capability_opens_one_container_for_one_right_for_a_while() {
        let text = sign(b"key", Right::Logs, "f1-2-3", 1000);
        let opens = |text: &str| verify(b"key", text, Right::Logs, "f1-2-3", 999);
        assert!(opens(&text));
        assert!(!verify(b"key", &text, Right::Logs, "f1-2-3", 1000), "expired");
        assert!(!verify(b"key", &text, Right::Files, "f1-2-3", 999), "another right");
        assert!(!verify(b"key", &text, Right::Logs, "f1-2-4", 999), "another container");
        assert!(!verify(b"other", &text, Right::Logs, "f1-2-3", 999), "another agent's key");
        assert!(!opens(&text.replace(".1000.", ".9999.")), "a forged expiry");
        let unsigned = sign(b"", Right::Logs, "f1-2-3", 1000);
        assert!(!verify(b"", &unsigned, Right::Logs, "f1-2-3", 999), "no key, no right");
        for broken in ["", ".", "..", "a.b", "a.b.c", "logs.f1-2-3.1000."] {
            assert!(!opens(broken), "{broken}");
        }
    }
}
