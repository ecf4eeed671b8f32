//! Who may do what here.

use proffer_net::capability::{Right, verify};
use proffer_net::{Authorize, Decision, Principal, PrincipalKind};
use proffer_sdk::Status;
use proffer_types::rights::{Object, ObjectKind, Verb};
use proffer_types::{Refusal, RefusalCode};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Services belong to operators; the master passes their requests on. Agents and other frameworks
/// may look: endpoints are for them, too.
pub(crate) struct Rights {
    /// Who this framework is, and the key of the master that leads.
    status: watch::Receiver<Status>,
}

impl Rights {
    pub(crate) fn new(status: watch::Receiver<Status>) -> Self {
        Self { status }
    }
}

impl Authorize for Rights {
    fn authorize(&self, principal: &Principal, verb: Verb, object: &Object) -> Decision {
        let may = matches!(object.kind, ObjectKind::Service | ObjectKind::Metrics)
            && match principal.kind() {
                PrincipalKind::Operator | PrincipalKind::Master => true,
                PrincipalKind::Agent | PrincipalKind::Framework | PrincipalKind::Member => {
                    verb.is_read()
                }
            };
        if may {
            return Decision::Allow;
        }
        let message = format!("{principal} may not {} {object}", verb.as_str());
        Decision::Deny(Refusal::new(RefusalCode::PermissionDenied, object.to_string(), message))
    }

    fn is_capability(&self, shown: &str) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let status = self.status.borrow();
        status.framework.is_some_and(|id| {
            verify(&status.capability_key, shown, Right::Call, &id.to_string(), now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_net::capability::sign;
    use proffer_types::FrameworkId;

    const LATER: u64 = 1 << 40;

    #[test]
    fn k20_only_the_master_of_the_subscription_is_known_by_a_capability() {
        let status = |framework, key: &[u8]| Status {
            framework,
            capability_key: key.to_vec(),
            ..Status::default()
        };
        let (sender, receiver) = watch::channel(status(None, b""));
        let rights = Rights::new(receiver);
        let good = sign(b"key", Right::Call, "f7", LATER);
        assert!(!rights.is_capability(&good), "not subscribed");
        sender.send_replace(status(Some(FrameworkId(7)), b""));
        assert!(!rights.is_capability(&sign(b"", Right::Call, "f7", LATER)), "no key");
        sender.send_replace(status(Some(FrameworkId(7)), b"key"));
        assert!(rights.is_capability(&good));
        assert!(!rights.is_capability(&sign(b"key", Right::Call, "f8", LATER)), "another's");
        assert!(!rights.is_capability(&sign(b"key", Right::Call, "f7", 1)), "expired");
        assert!(!rights.is_capability(&sign(b"key", Right::Logs, "f7", LATER)), "another right");
        sender.send_replace(status(Some(FrameworkId(7)), b"the next master's"));
        assert!(!rights.is_capability(&good), "of a master that leads no more");
    }
}
