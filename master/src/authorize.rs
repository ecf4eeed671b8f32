//! What a principal may do: the one place where the master decides it. Every call and stream passes
//! the gate, which finds the right that the call needs in the table of routes and asks here.

use proffer_net::{Access, Decision, Object, ObjectKind, Principal, PrincipalKind, Verb};
use proffer_proto::routes;
use proffer_types::{Refusal, RefusalCode};

/// May `principal` do `verb` on `object`?
///
/// A token and a listener opened with `--insecure` may do everything. A certificate may do what it
/// was made for: agents and frameworks join, operators look and change; a certificate that does not
/// say what it is for may join and look. Rights by role come with the security work.
#[must_use]
pub fn authorize(principal: &Principal, verb: Verb, object: &Object) -> Decision {
    let allowed = match principal.kind() {
        PrincipalKind::Operator | PrincipalKind::Master => true,
        PrincipalKind::Agent => verb == Verb::Join && object.kind == ObjectKind::Agent,
        PrincipalKind::Framework => {
            (verb == Verb::Join && object.kind == ObjectKind::Framework) || verb == Verb::Read
        }
        PrincipalKind::Member => verb == Verb::Join || verb == Verb::Read,
    };
    if allowed {
        return Decision::Allow;
    }
    let verb = match verb {
        Verb::Read => "read",
        Verb::Join => "join as",
        Verb::Write => "change",
    };
    Decision::Deny(Refusal::new(
        RefusalCode::PermissionDenied,
        object.to_string(),
        format!("{principal} may not {verb} this"),
    ))
}

/// The right behind a line of the table of routes.
#[must_use]
pub fn access(verb: routes::Verb, object: routes::Object) -> Access {
    let verb = match verb {
        routes::Verb::Read => Verb::Read,
        routes::Verb::Subscribe | routes::Verb::Register | routes::Verb::Execute => Verb::Join,
        routes::Verb::MarkGone
        | routes::Verb::Drain
        | routes::Verb::Deactivate
        | routes::Verb::Activate
        | routes::Verb::Teardown
        | routes::Verb::Kill
        | routes::Verb::Set
        | routes::Verb::Change => Verb::Write,
    };
    let kind = match object {
        routes::Object::Cluster | routes::Object::Event | routes::Object::Metrics => {
            ObjectKind::Cluster
        }
        routes::Object::Agent => ObjectKind::Agent,
        routes::Object::Framework => ObjectKind::Framework,
        routes::Object::Task => ObjectKind::Task,
        routes::Object::Offer => ObjectKind::Offer,
        routes::Object::Role => ObjectKind::Role,
        routes::Object::Sandbox => ObjectKind::Sandbox,
        routes::Object::Service => ObjectKind::Service,
        routes::Object::Health | routes::Object::Document | routes::Object::Page => {
            ObjectKind::Page
        }
    };
    Access::new(verb, kind)
}
