//! Whether a request shows the capability that it needs (K20). The signing is the master's, the form
//! [`proffer_net::capability`]'s.

use axum::http::{HeaderMap, header};
use proffer_net::capability::{Right, verify};
use proffer_types::ids::ContainerId;
use proffer_types::refusal::{Refusal, RefusalCode};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest header that is looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// Whether these headers give the right to do this to `container` now.
///
/// # Errors
/// Why not; never what was right about it.
pub(crate) fn check(
    headers: &HeaderMap,
    key: &[u8],
    container: &ContainerId,
    right: Right,
) -> Result<(), Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let granted = shown
        .filter(|text| text.len() <= TEXT_BYTES_MAX)
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .is_some_and(|(_, text)| verify(key, text.trim(), right, container.as_str(), now));
    if granted {
        return Ok(());
    }
    let message = "the call shows no valid capability for this container";
    Err(Refusal::new(RefusalCode::Unauthenticated, "authorization", message)
        .hint("ask the master: it passes requests for tasks on"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_net::capability::sign;

    #[test]
    fn k20_only_a_signed_bearer_capability_is_let_in() {
        let container = ContainerId::new("f1-1-2").unwrap();
        let let_in = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            check(&headers, b"key", &container, Right::Logs).is_ok()
        };
        let good = sign(b"key", Right::Logs, "f1-1-2", 1 << 40);
        assert!(let_in(&format!("Bearer {good}")));
        assert!(!let_in(&format!("Basic {good}")));
        assert!(!let_in(&format!("Bearer {}", sign(b"key", Right::Files, "f1-1-2", 1 << 40))));
        for broken in ["Bearer", "Bearer ", "Bearer x", &good] {
            assert!(!let_in(broken), "{broken}");
        }
        assert!(check(&HeaderMap::new(), b"key", &container, Right::Logs).is_err());
    }
}
