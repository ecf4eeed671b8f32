//! Protocol stories of one framework, on the bench.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod keeper;

use keeper::{Keeper, Order};
use proffer_sdk_core::FrameworkEvent;
use proffer_sdk_core::driver::Standing;
use proffer_sdk_core::testing::{Bench, HEARTBEAT};
use proffer_types::scheduler::{Absence, Call};
use proffer_types::state_store::StateBudget;
use proffer_types::{AgentId, DurationMs, Refusal, RefusalCode, TaskName, TaskState};

const AGENT: &str = "cpus:4;mem:8GiB;ports:[31000-31009]";

fn bench(names: &[&str]) -> Bench<Keeper> {
    let mut bench = Bench::new(Keeper::new(names));
    bench.agent("one", AGENT);
    bench
}

fn name(text: &str) -> TaskName {
    TaskName::new(text).expect("valid")
}

fn live(bench: &Bench<Keeper>) -> Vec<(String, TaskState)> {
    bench.live().into_iter().map(|(name, _, state)| (name, state)).collect()
}

#[test]
fn what_is_asked_for_runs_and_its_end_is_told_once() {
    let mut bench = bench(&["a", "b"]);
    bench.settle();
    assert_eq!(bench.status().standing, Standing::Active);
    let taken = |name: &str| (name.to_owned(), TaskState::Taken);
    assert_eq!(live(&bench), [taken("a"), taken("b")]);
    bench.run_all();
    bench.task_becomes("a", TaskState::Finished);
    assert_eq!(bench.framework().ends(), ["a"]);
    assert_eq!(bench.context().tasks().len(), 1, "an ended task leaves the table");
    assert_eq!(bench.master().state("done/a"), Some("1".as_bytes()));
    bench.master().repeat_statuses();
    bench.settle();
    assert_eq!(bench.framework().ends(), ["a"], "I7");
}

/// An agent whose connection breaks before the acknowledgements reach it says all its ends again.
#[test]
fn i7_a_thousand_ends_of_one_agent_that_come_again_are_told_once() {
    let names: Vec<String> = (0..1_000).map(|number| format!("t{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(Keeper::new(&names));
    let agent = bench.agent("one", "cpus:1000;mem:1000GiB");
    bench.settle();
    bench.run_all();
    assert_eq!(bench.live().len(), 1_000);
    bench.master().lose_acknowledgements(agent);
    for name in names {
        assert!(bench.master().move_task(&self::name(name), TaskState::Finished));
    }
    bench.settle();
    assert_eq!(bench.framework().ends().len(), 1_000);
    bench.master().hear_acknowledgements(agent);
    bench.master().repeat_statuses();
    bench.settle();
    assert_eq!(bench.framework().ends().len(), 1_000, "each once");
    assert_eq!(bench.framework().violations, [""; 0]);
    assert_eq!(bench.master().tasks().len(), 0, "and all are acknowledged");
}

/// The master's own words for too many commits mean: later.
#[test]
fn k9_what_is_over_the_rate_of_the_store_is_stored_later() {
    let names: Vec<String> = (0..40).map(|number| format!("t{number:02}")).collect();
    let mut bench = Bench::new(Keeper::new(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    bench.agent("one", "cpus:100;mem:100GiB");
    let budget = StateBudget { commits_per_second: 1, ..StateBudget::default() };
    bench.master().set_state_budget(budget);
    bench.settle();
    bench.run_all();
    for name in &names {
        bench.task_becomes(name, TaskState::Finished);
    }
    let stored = |bench: &mut Bench<Keeper>| {
        names.iter().filter(|it| bench.master().state(&format!("done/{it}")).is_some()).count()
    };
    assert_eq!(stored(&mut bench), 5, "the burst");
    bench.advance(DurationMs(3_000));
    assert_eq!(stored(&mut bench), 40, "the rest waited, and went together");
    assert_eq!(bench.framework().refused(), []);
    assert_eq!(bench.framework().violations, [""; 0]);
}

#[test]
fn equal_requests_make_one_demand_and_one_accept() {
    let mut bench = Bench::new(Keeper::new(&["a", "b", "c"]));
    bench.settle();
    bench.agent("one", AGENT);
    bench.settle();
    let calls = bench.take_calls();
    let targets: Vec<Vec<u32>> = calls
        .iter()
        .filter_map(|call| match call {
            Call::Demand { groups } => Some(groups.iter().map(|g| g.target).collect()),
            _ => None,
        })
        .collect();
    // Nothing wanted; three wanted; all placed.
    assert_eq!(targets, [vec![], vec![3], vec![]]);
    let accepts = calls.iter().filter(|call| matches!(call, Call::Accept(_))).count();
    assert_eq!(accepts, 1);
}

#[test]
fn ports_are_chosen_from_the_offer_and_become_variables() {
    let mut bench = bench(&[]);
    bench.settle();
    bench.input(Order::WithPorts(name("a")));
    bench.input(Order::WithPorts(name("b")));
    let port = |bench: &Bench<Keeper>, task: &str, port: &str| {
        bench.context().tasks().get(&name(task)).expect("live").port(port)
    };
    assert_eq!(port(&bench, "a", "http"), Some(31000));
    assert_eq!(port(&bench, "a", "admin"), Some(31001));
    assert_eq!(port(&bench, "b", "http"), Some(31002));
}

#[test]
fn a_name_that_is_taken_is_refused_and_a_request_can_be_taken_back() {
    let mut bench = bench(&["a"]);
    bench.settle();
    bench.input(Order::Launch(name("a")));
    assert_eq!(bench.framework().refused(), [RefusalCode::AlreadyExists]);
    bench.input(Order::Huge(name("huge")));
    assert_eq!(bench.context().waiting().count(), 1);
    bench.input(Order::Kill(name("huge")));
    assert_eq!(bench.context().waiting().count(), 0);
    bench.input(Order::Launch(name("b")));
    assert_eq!(live(&bench).len(), 2);
    bench.input(Order::Kill(name("b")));
    assert_eq!(live(&bench), [("a".to_owned(), TaskState::Taken)]);
    assert_eq!(bench.framework().states_of("b").last(), Some(&TaskState::Killed));
}

#[test]
fn a_short_cut_resumes_in_the_same_epoch_and_tells_what_changed() {
    let mut bench = bench(&["a", "b"]);
    bench.settle();
    bench.run_all();
    let epoch = bench.context().epoch();
    bench.cut();
    bench.master().move_task(&name("a"), TaskState::Finished);
    bench.mend();
    bench.advance(DurationMs(6_000));
    assert_eq!(bench.context().epoch(), epoch);
    assert_eq!(bench.framework().ends(), ["a"]);
    assert_eq!(bench.framework().activations(), 1);
    assert_eq!(live(&bench), [("b".to_owned(), TaskState::Running)]);
}

#[test]
fn k11_what_is_to_stay_is_said_on_every_stream_and_by_a_new_process_anew() {
    let said = |bench: &mut Bench<Keeper>| {
        let last = bench.take_calls().into_iter().rev().find_map(|call| match call {
            Call::Budgets { budgets } => Some(budgets),
            _ => None,
        });
        last.map(|budgets| {
            budgets.iter().map(|it| (it.name.to_string(), it.min_available)).collect::<Vec<_>>()
        })
    };
    let mut bench = bench(&["a", "b"]);
    bench.settle();
    bench.run_all();
    assert_eq!(said(&mut bench), None, "nothing was wanted");
    bench.input(Order::Available(1));
    bench.settle();
    assert_eq!(said(&mut bench), Some(vec![("tasks".to_owned(), 1)]));
    bench.input(Order::Available(1));
    bench.settle();
    assert_eq!(said(&mut bench), None, "it was said");

    bench.cut();
    bench.input(Order::Available(2));
    bench.mend();
    bench.advance(DurationMs(6_000));
    assert_eq!(said(&mut bench), Some(vec![("tasks".to_owned(), 2)]));
    bench.fail_over();
    bench.advance(DurationMs(6_000));
    assert_eq!(said(&mut bench), Some(vec![("tasks".to_owned(), 2)]));
    bench.restart(Keeper::new(&["a", "b"]));
    bench.settle();
    assert_eq!(said(&mut bench), None, "the new process has not said anything");
}

#[test]
fn a_new_process_finds_everything_in_snapshot_and_state() {
    let mut bench = bench(&["a", "b", "c"]);
    bench.settle();
    bench.run_all();
    bench.task_becomes("a", TaskState::Finished);
    bench.restart(Keeper::new(&["a", "b", "c"]));
    bench.master().move_task(&name("b"), TaskState::Finished);
    bench.settle();
    assert_eq!(bench.framework().ends(), ["b"], "a was told to the process before");
    assert_eq!(live(&bench), [("c".to_owned(), TaskState::Running)]);
    assert_eq!(bench.master().launched().len(), 3, "I2: nothing was launched twice");
}

#[test]
fn an_end_that_is_not_durable_is_told_to_the_next_process() {
    let mut bench = bench(&["a"]);
    bench.settle();
    bench.run_all();
    // The process ends in the instant in which it has handled the end and not yet sent the commit.
    bench.master().move_task(&name("a"), TaskState::Finished);
    bench.restart(Keeper::new(&["a"]));
    bench.settle();
    assert_eq!(bench.framework().ends(), ["a"]);
    let acknowledged = bench.take_calls().into_iter().any(
        |call| matches!(call, Call::Acknowledge { through, except, .. } if through == 3 && except.is_empty()),
    );
    assert!(acknowledged, "after the commit is durable");
}

#[test]
fn nothing_is_replaced_while_its_agent_is_awaited() {
    let mut bench = bench(&["a"]);
    bench.agent("two", AGENT);
    bench.settle();
    bench.run_all();
    let at = bench.live()[0].1;
    let other = if at == AgentId(1) { AgentId(2) } else { AgentId(1) };
    bench.fail_over();
    // A new process: it knows the name only from its list of what is to run.
    bench.restart(Keeper::new(&["a"]));
    bench.master().return_agent(other);
    bench.advance(DurationMs(20_000));
    assert_eq!(bench.context().absent().get(&at), Some(&Absence::Awaited));
    assert_eq!(bench.context().waiting().count(), 1, "K2: held");
    assert_eq!(bench.master().launched().len(), 1);
    bench.master().return_agent(at);
    bench.settle();
    assert_eq!(bench.context().waiting().count(), 0);
    assert_eq!(bench.live(), [("a".to_owned(), at, TaskState::Running)]);
    assert_eq!(bench.master().launched().len(), 1);
}

#[test]
fn an_awaited_agent_that_is_given_up_frees_its_names() {
    let mut bench = bench(&["a"]);
    bench.agent("two", AGENT);
    bench.settle();
    bench.run_all();
    let at = bench.live()[0].1;
    let other = if at == AgentId(1) { AgentId(2) } else { AgentId(1) };
    bench.fail_over();
    bench.master().return_agent(other);
    bench.advance(DurationMs(2_000));
    assert!(!bench.context().tasks().get(&name("a")).expect("kept").is_certain);
    bench.master().mark_gone(at);
    bench.settle();
    assert_eq!(bench.live(), [("a".to_owned(), other, TaskState::Taken)]);
    use TaskState::{Gone, Running, Staging, Taken};
    assert_eq!(bench.framework().states_of("a"), [Staging, Taken, Running, Gone, Staging, Taken]);
    let gone =
        |call: &Call| matches!(call, Call::Acknowledge { agent, through: 0, .. } if *agent == at);
    assert!(bench.take_calls().iter().any(gone), "that it is gone is acknowledged");
}

/// Its epochs begin at one again: that is no resumption.
#[test]
fn i7_another_framework_of_the_same_name_starts_from_nothing() {
    let mut bench = bench(&["a"]);
    bench.settle();
    bench.run_all();
    let before = bench.context().framework_id();
    let epoch = bench.context().epoch();
    bench.cut();
    bench.master().replace_framework();
    bench.mend();
    bench.advance(DurationMs(20_000));
    assert_ne!(bench.context().framework_id(), before);
    assert_eq!(bench.context().epoch(), epoch);
    use TaskState::{Running, Staging, Taken};
    assert_eq!(bench.framework().states_of("a"), [Staging, Taken, Running, Staging, Taken]);
    assert_eq!(bench.master().launched().len(), 2);
    assert_eq!(bench.framework().violations, [""; 0]);
    bench.task_becomes("a", TaskState::Finished);
    assert_eq!(bench.framework().ends(), ["a"]);
    assert_eq!(bench.master().tasks().len(), 0, "and it is acknowledged");
}

#[test]
fn a_launch_that_never_ran_is_asked_for_again() {
    let mut bench = bench(&[]);
    bench.settle();
    bench.input(Order::Launch(name("a")));
    bench.task_becomes("a", TaskState::Error);
    assert_eq!(live(&bench), []);
    assert_eq!(bench.framework().retried(), 1);
    bench.advance(DurationMs(1_000));
    assert_eq!(live(&bench), [("a".to_owned(), TaskState::Taken)]);
    assert_eq!(bench.master().launched().len(), 2);
    // Not for ever: the fifth loss is reported.
    for _ in 0..3 {
        bench.task_becomes("a", TaskState::Error);
        bench.advance(DurationMs(40_000));
    }
    assert_eq!(bench.framework().retried(), 4);
    bench.task_becomes("a", TaskState::Error);
    assert_eq!(bench.framework().retried(), 4);
    bench.advance(DurationMs(40_000));
    assert_eq!(live(&bench), []);
}

#[test]
fn a_taken_over_replica_stands_by_with_empty_hands() {
    let mut bench = bench(&["a"]);
    bench.settle();
    let other = proffer_types::scheduler::SchedulerUp {
        epoch: proffer_types::FrameworkEpoch(0),
        calls: vec![Call::Subscribe {
            info: keeper::info(),
            replica: proffer_types::ReplicaId::new("other").expect("valid"),
            take_over: true,
            conditions: Default::default(),
        }],
    };
    bench.master().frame(99, other);
    bench.settle();
    assert!(!bench.context().is_active());
    assert_eq!(bench.context().tasks().len(), 0);
    bench.advance(DurationMs(1_000));
    assert_eq!(bench.status().standing, Standing::StandingBy);
    bench.input(Order::Launch(name("b")));
    assert_eq!(bench.framework().refused(), [RefusalCode::Unavailable]);
    bench.master().disconnected(99);
    bench.advance(DurationMs(1_000));
    assert_eq!(bench.status().standing, Standing::Active, "promoted on its stream");
    assert_eq!(bench.framework().activations(), 2);
    assert_eq!(live(&bench), [("a".to_owned(), TaskState::Taken)]);
}

#[test]
fn silence_ends_a_connection_and_heartbeats_keep_it() {
    let mut bench = bench(&[]);
    bench.settle();
    bench.take_calls();
    bench.advance(DurationMs(HEARTBEAT.0 * 10));
    let beats = bench.take_calls().into_iter().filter(|c| *c == Call::Heartbeat).count();
    assert!(beats >= 10, "{beats} heartbeats in ten of the master's");
    assert_eq!(bench.status().standing, Standing::Active);
    assert_eq!(bench.framework().activations(), 1);
}

#[test]
fn teardown_ends_the_driver() {
    let mut bench = bench(&["a"]);
    bench.settle();
    bench.input(Order::Teardown);
    assert!(bench.master().is_torn_down());
    assert_eq!(bench.status().standing, Standing::Ended);
    assert!(matches!(bench.framework().last(), Some(FrameworkEvent::TornDown)));
}

#[test]
fn a_name_is_used_again_once_its_end_is_acknowledged() {
    let mut bench = bench(&["a", "b"]);
    bench.settle();
    bench.run_all();
    // Both end in one instant: the end of one is committed, the other is wanted again.
    bench.master().move_task(&name("a"), TaskState::Finished);
    bench.master().move_task(&name("b"), TaskState::Failed);
    bench.settle();
    assert_eq!(live(&bench), [("b".to_owned(), TaskState::Taken)]);
    assert_eq!(bench.counters().accepts_refused, 0);
}

#[test]
fn one_launch_that_is_refused_for_good_does_not_take_others_with_it() {
    let mut bench = bench(&["a", "b", "c"]);
    let never = Refusal::new(RefusalCode::CannotEnforce, "tasks[1]", "no such isolation");
    bench.master().refuse_launch(name("b"), never.clone());
    bench.settle();
    let taken = |name: &str| (name.to_owned(), TaskState::Taken);
    assert_eq!(live(&bench), [taken("a"), taken("c")]);
    assert_eq!(bench.framework().given_up(), [("b".to_owned(), RefusalCode::CannotEnforce)]);
    assert!(!bench.context().is_taken(&name("b")));
}

#[test]
fn a_refused_demand_ends_the_requests_it_names_and_no_others() {
    let mut bench = Bench::new(Keeper::new(&["a"]));
    let wrong = Refusal::new(RefusalCode::PermissionDenied, "groups[0].role", "is not yours");
    bench.master().refuse_demand(wrong);
    bench.settle();
    assert_eq!(bench.framework().given_up(), [("a".to_owned(), RefusalCode::PermissionDenied)]);
    bench.agent("one", AGENT);
    bench.input(Order::Launch(name("b")));
    assert_eq!(live(&bench), [("b".to_owned(), TaskState::Taken)]);
}

#[test]
fn a_launch_that_keeps_being_refused_waits_longer_each_time() {
    let mut bench = bench(&["a"]);
    let limit = Refusal::new(RefusalCode::LimitExceeded, "role", "its limit is reached");
    bench.master().refuse_launch(name("a"), limit);
    bench.advance(DurationMs(60_000));
    let accepts = bench.counters().accepts;
    assert!((3..=12).contains(&accepts), "{accepts} accepts in a minute");
    assert_eq!(bench.context().waiting().count(), 1);
}

#[test]
fn a_request_is_given_up_at_its_deadline_also_over_a_lost_connection() {
    let mut bench = bench(&[]);
    bench.settle();
    bench.input(Order::HugeWithin(name("a"), DurationMs(60_000)));
    bench.input(Order::Huge(name("b")));
    bench.advance(DurationMs(30_000));
    bench.cut();
    bench.mend();
    bench.advance(DurationMs(20_000));
    assert_eq!(bench.framework().given_up(), []);
    let said = bench.take_calls().into_iter().rev().find_map(|call| match call {
        Call::Demand { groups } => Some(groups),
        _ => None,
    });
    let left: Vec<_> = said.expect("said again").iter().filter_map(|it| it.deadline).collect();
    assert!(left.len() == 1 && left[0].0 < 31_000, "what was left of it: {left:?}");
    bench.advance(DurationMs(20_000));
    assert_eq!(bench.framework().given_up(), [("a".to_owned(), RefusalCode::Expired)]);
    assert_eq!(bench.context().waiting().collect::<Vec<_>>(), [&name("b")]);
    bench.input(Order::Launch(name("a")));
    bench.settle();
    assert_eq!(live(&bench).len(), 1, "its name is free");
}
