//! The keys of capabilities: one for each agent and each framework, derived from the leader's secret and
//! used as HMAC keys only, so that the shell can sign without asking the core (K20).

use proffer_types::{AgentId, FrameworkId};
use sha2::{Digest, Sha256};

/// With which rights to an agent's sandboxes are signed.
#[must_use]
pub fn agent_capability_key(secret: &[u8], agent: AgentId) -> Vec<u8> {
    derive(b"proffer agent capability 1\0", secret, agent.0)
}

/// With which requests to a framework's API are signed.
#[must_use]
pub fn framework_capability_key(secret: &[u8], framework: FrameworkId) -> Vec<u8> {
    derive(b"proffer framework capability 1\0", secret, framework.0)
}

fn derive(label: &[u8], secret: &[u8], id: u64) -> Vec<u8> {
    Sha256::new()
        .chain_update(label)
        .chain_update((secret.len() as u64).to_be_bytes())
        .chain_update(secret)
        .chain_update(id.to_be_bytes())
        .finalize()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k20_no_two_of_them_share_a_key() {
        let keys = [
            agent_capability_key(b"secret", AgentId(1)),
            agent_capability_key(b"secret", AgentId(2)),
            framework_capability_key(b"secret", FrameworkId(1)),
            framework_capability_key(b"secret", FrameworkId(2)),
            framework_capability_key(b"other", FrameworkId(1)),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
    }
}
