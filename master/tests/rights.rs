//! Who may do what at the master's doors, for every rpc and every route there is.

use std::collections::BTreeSet;

use proffer_master::authorize::authorize;
use proffer_net::{Decision, Principal};
use proffer_proto::routes::{Method, ROUTES, RPCS};
use proffer_types::rights::{Access, Object, Verb};

/// Every door with the right it needs.
fn doors() -> Vec<(String, Access)> {
    let served = RPCS.iter().filter(|rpc| rpc.service != "ExecutorService");
    let rpcs = served.map(|rpc| (rpc.path(), rpc.access));
    let routes = ROUTES
        .iter()
        .map(|route| (format!("{} {}", route.method.as_str(), route.path), route.access()));
    rpcs.chain(routes).collect()
}

fn open_to(principal: &Principal) -> BTreeSet<String> {
    let allowed = |right: &Access| {
        let object = Object { kind: right.kind, name: Some("x".to_owned()) };
        match authorize(principal, right.verb, &object) {
            Decision::Allow => true,
            Decision::Deny(refusal) => {
                let who = principal.to_string();
                assert!(refusal.message.contains(&who), "it says who was refused: {refusal}");
                false
            }
        }
    };
    doors().into_iter().filter(|(_, right)| allowed(right)).map(|(door, _)| door).collect()
}

fn of_verbs(wanted: impl Fn(Verb) -> bool) -> BTreeSet<String> {
    doors().into_iter().filter(|(_, right)| wanted(right.verb)).map(|(door, _)| door).collect()
}

fn certificate(name: &str) -> Principal {
    Principal::Certificate(name.to_owned())
}

#[test]
fn k20_an_agent_only_joins() {
    let agent = certificate("proffer://agent/a7");
    assert_eq!(open_to(&agent), ["/proffer.v1.AgentService/Connect".to_owned()].into());
}

#[test]
fn k20_a_framework_joins_and_looks_but_gives_no_orders() {
    let framework = certificate("proffer://framework/web");
    let expected = of_verbs(|verb| matches!(verb, Verb::Read | Verb::Subscribe));
    assert_eq!(open_to(&framework), expected);
    assert!(expected.contains("/proffer.v1.SchedulerService/Connect"));
}

#[test]
fn k20_a_certificate_without_a_kind_opens_nothing() {
    for name in ["rack7.example.com", "proffer://agent", "proffer://printer/7", "https://ann"] {
        assert_eq!(open_to(&certificate(name)), BTreeSet::new(), "{name}");
    }
}

#[test]
fn k20_operators_may_do_everything() {
    let everything = of_verbs(|_| true);
    let orders = everything.len() - of_verbs(|verb| verb == Verb::Read).len();
    assert!(orders > 10, "the table has orders in it");
    for operator in [
        Principal::Token("dev".to_owned()),
        certificate("proffer://operator/ann"),
        Principal::Insecure,
    ] {
        assert_eq!(open_to(&operator), everything, "{operator}");
    }
}

#[test]
fn k20_only_looking_counts_as_reading() {
    for route in ROUTES {
        let looks = route.method == Method::Get;
        let path = route.path;
        assert_eq!(route.access().verb.is_read(), looks, "{} {path}", route.method.as_str());
    }
}
