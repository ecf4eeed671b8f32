//! What a framework is asked to give up, and what becomes of its answers.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod keeper;

use keeper::{Keeper, Order};
use proffer_sdk_core::testing::Bench;
use proffer_types::inverse_offer::InverseAnswer;
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, DurationMs, InverseOfferId};

fn bench() -> (Bench<Keeper>, AgentId) {
    let mut bench = Bench::new(Keeper::new(&["a", "b"]));
    let agent = bench.agent("one", "cpus:4;mem:8GiB");
    bench.settle();
    bench.run_all();
    bench.take_calls();
    (bench, agent)
}

fn drain(bench: &mut Bench<Keeper>, agent: AgentId) -> InverseOfferId {
    let id = bench.master().drain(agent, Some(DurationMs::from_secs(600)));
    bench.settle();
    id
}

/// What was answered, in the master's ears.
fn answers(bench: &mut Bench<Keeper>) -> Vec<String> {
    let words = |call: Call| match call {
        Call::AcceptInverseOffers { offers } => Some(format!("yes {offers:?}")),
        Call::DeclineInverseOffers { offers, reason } => Some(format!("no {offers:?} {reason}")),
        _ => None,
    };
    bench.take_calls().into_iter().filter_map(words).collect()
}

#[test]
fn a_request_is_told_once_answered_and_withdrawn() {
    let (mut bench, agent) = bench();
    let id = drain(&mut bench, agent);
    assert_eq!(bench.framework().asked(), [format!("+{id}")]);
    let task = bench.context().tasks().live().next().expect("runs").clone();
    assert_eq!(bench.context().inverse_offer_of(&task).map(|offer| offer.id), Some(id));
    bench.input(Order::Agree);
    assert_eq!(answers(&mut bench), [format!("yes [{id}]")]);
    bench.input(Order::Keep("no room".to_owned()));
    assert_eq!(answers(&mut bench), [format!("no [{id}] no room")], "it may think again");
    bench.master().activate_agent(agent);
    bench.settle();
    assert_eq!(bench.framework().asked(), [format!("+{id}"), format!("-{id}")]);
    assert_eq!(bench.context().inverse_offer_of(&task), None);
    bench.input(Order::Agree);
    assert_eq!(answers(&mut bench), [""; 0], "nothing stands that could be answered");
}

#[test]
fn after_an_outage_the_same_request_is_answered_again_and_not_told_again() {
    let (mut bench, agent) = bench();
    let id = drain(&mut bench, agent);
    bench.input(Order::Agree);
    bench.take_calls();
    bench.cut();
    bench.advance(DurationMs::from_secs(2));
    bench.mend();
    bench.advance(DurationMs::from_secs(30));
    assert_eq!(answers(&mut bench), [format!("yes [{id}]")]);
    assert_eq!(bench.framework().asked(), [format!("+{id}")]);
}

#[test]
fn what_ended_or_began_during_an_outage_is_told_after_it() {
    let (mut bench, agent) = bench();
    let other = bench.agent("two", "cpus:1;mem:1GiB");
    let id = drain(&mut bench, agent);
    bench.input(Order::Agree);
    bench.take_calls();
    bench.cut();
    bench.master().activate_agent(agent);
    let next = bench.master().drain(other, None);
    bench.mend();
    bench.advance(DurationMs::from_secs(30));
    let told = [format!("+{id}"), format!("-{id}"), format!("+{next}")];
    assert_eq!(bench.framework().asked(), told);
    assert_eq!(answers(&mut bench), [""; 0]);
}

#[test]
fn a_new_process_is_told_everything_that_stands() {
    let (mut bench, agent) = bench();
    let id = drain(&mut bench, agent);
    bench.input(Order::Agree);
    bench.restart(Keeper::new(&["a", "b"]));
    bench.advance(DurationMs::from_secs(30));
    assert_eq!(bench.framework().asked(), [format!("+{id}")]);
    bench.take_calls();
    bench.input(Order::Agree);
    assert_eq!(answers(&mut bench), [format!("yes [{id}]")]);
}

#[test]
fn a_reason_is_cut_to_what_the_master_takes() {
    let (mut bench, agent) = bench();
    drain(&mut bench, agent);
    bench.input(Order::Keep("é".repeat(InverseAnswer::REASON_BYTES_MAX)));
    let said = bench.take_calls().into_iter().find_map(|call| match call {
        Call::DeclineInverseOffers { reason, .. } => Some(reason),
        _ => None,
    });
    let said = said.expect("said");
    assert_eq!(said.len(), InverseAnswer::REASON_BYTES_MAX);
}
