//! What people are answered and shown is durable (I11), and no commit rests on one that was refused.

mod support;

use proffer_service_core::command::{ChangeKind, ScaleTo, ServiceCall, ServiceReply};
use proffer_service_core::{Answer, ReplyTo};
use proffer_types::state_store::StateBudget;
use proffer_types::{DurationMs, TaskState};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use support::{Cluster, name, specs};

fn web(version: &str) -> Json {
    json!({"web": {
        "instances": 3,
        "command": ["/bin/server", version],
        "rollout": {"min_available_time": "1s", "max_failures": 5},
    }})
}

fn deploy(version: &str) -> ServiceCall {
    let services = specs(&web(version));
    ServiceCall::Deploy { services, if_revision: BTreeMap::new(), message: String::new() }
}

fn scale(count: u32) -> ServiceCall {
    ServiceCall::Scale { targets: [(name("web"), ScaleTo::Count(count))].into() }
}

fn up() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.deploy(&web("1")).expect("accepted");
    cluster.run(5);
    assert_eq!(cluster.view("web").summary.ready, 3);
    cluster
}

fn answers(cluster: &mut Cluster) -> Vec<Answer> {
    cluster.bench.settle();
    cluster.bench.framework_mut().take_answers()
}

fn change_of(reply: &ServiceReply) -> ChangeKind {
    reply.services[0].change
}

#[test]
fn i11_what_is_being_stored_is_neither_answered_nor_shown() {
    let mut cluster = up();
    cluster.bench.master().hold_state();
    let asked: Vec<ReplyTo> = vec![cluster.ask(scale(5)), cluster.ask(scale(5))];
    cluster.run(2);
    assert_eq!(answers(&mut cluster), [], "neither the change nor that nothing is to be changed");
    assert_eq!(cluster.view("web").summary.instances, 3);
    assert_eq!(cluster.running().len(), 3, "nothing is started on the ground of it");

    cluster.bench.master().release_state();
    let answers = answers(&mut cluster);
    assert_eq!(answers.iter().map(|it| it.reply).collect::<Vec<_>>(), asked);
    let changes = answers.iter().map(|it| change_of(it.result.as_ref().expect("carried out")));
    assert_eq!(changes.collect::<Vec<_>>(), [ChangeKind::Scaled, ChangeKind::Unchanged]);
    assert_eq!(cluster.view("web").summary.instances, 5);
}

#[test]
fn i11_what_was_never_stored_was_never_answered() {
    let mut cluster = up();
    cluster.bench.master().hold_state();
    cluster.ask(scale(5));
    cluster.ask(scale(5));
    cluster.run(1);
    let told = answers(&mut cluster);
    cluster.kill_framework();
    cluster.bench.master().release_state();
    cluster.run(5);
    assert_eq!((told.len(), cluster.view("web").summary.instances), (0, 3));
}

#[test]
fn i11_a_service_that_is_being_made_is_not_there_yet() {
    let mut cluster = Cluster::new();
    cluster.bench.master().hold_state();
    cluster.ask(deploy("1"));
    cluster.run(1);
    assert!(cluster.bench.framework().views().is_empty());
    cluster.bench.master().release_state();
    cluster.run(5);
    assert_eq!(cluster.view("web").summary.ready, 3);
}

/// A revision that the store refuses (K9) while an instance crashes: the crash is noted with what is
/// stored, not with the revision that is not.
#[test]
fn k9_a_refused_revision_is_named_by_no_record() {
    let mut cluster = up();
    cluster.bench.master().hold_state();
    let refused = cluster.ask(deploy("2"));
    let waits = cluster.ask(scale(4));
    let victim = cluster.bench.live()[1].0.clone();
    cluster.bench.task_becomes(&victim, TaskState::Failed);
    cluster.run(1);
    // Room for a record, none for one more revision.
    let values = StateBudget { keys_max: 2, ..StateBudget::default() };
    cluster.bench.master().set_state_budget(values);
    cluster.bench.master().release_state();
    let mut told = answers(&mut cluster);
    for _ in 0..50 {
        cluster.bench.advance(DurationMs(100));
        told.extend(answers(&mut cluster));
    }
    let result = |of: ReplyTo| told.iter().find(|it| it.reply == of).map(|it| it.result.is_ok());
    assert_eq!((result(refused), result(waits)), (Some(false), Some(true)), "{told:?}");
    cluster.kill_framework();
    cluster.run(5);
    assert_eq!(cluster.bench.framework().fault(), None);
    let view = cluster.view("web");
    assert_eq!((view.summary.revision, view.summary.instances, view.summary.ready), (1, 4, 4));
}
