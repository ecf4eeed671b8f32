//! What a principal may do: the one place where the master decides it. Every call and stream passes
//! the gate, which finds the right that the call needs in the table of routes and asks here.

use proffer_net::{Decision, Principal, PrincipalKind};
use proffer_types::rights::{Object, Verb};
use proffer_types::{Refusal, RefusalCode};

/// May `principal` do `verb` on `object`?
///
/// A token and a listener opened with `--insecure` may do everything. A certificate may do what it
/// was made for: agents and frameworks join, operators look and change. One that does not say what it
/// is for may do nothing: the authority may have signed it for something else altogether. Under which
/// name an agent registers is checked where it registers. Rights by role come with the security work.
#[must_use]
pub fn authorize(principal: &Principal, verb: Verb, object: &Object) -> Decision {
    let allowed = match principal.kind() {
        PrincipalKind::Operator | PrincipalKind::Master => true,
        PrincipalKind::Agent => verb == Verb::Register,
        PrincipalKind::Framework => verb == Verb::Subscribe || verb.is_read(),
        PrincipalKind::Member => false,
    };
    if allowed {
        return Decision::Allow;
    }
    let refusal = Refusal::new(
        RefusalCode::PermissionDenied,
        object.to_string(),
        format!("{principal} may not {} this {}", verb.as_str(), object.kind.as_str()),
    );
    Decision::Deny(match principal.kind() {
        PrincipalKind::Member => refusal.hint(
            "its certificate needs a URI name: proffer://agent/NAME, proffer://framework/NAME or \
             proffer://operator/NAME",
        ),
        PrincipalKind::Operator
        | PrincipalKind::Master
        | PrincipalKind::Agent
        | PrincipalKind::Framework => refusal,
    })
}
