//! Which accepts may be gangs (K3): a refusal names the operation and books nothing. What becomes of those
//! that are is in `tests/scripts/gang_*.txt`.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use super::peers::template;
use super::{AgentPeer, FrameworkPeer, Harness};
use crate::{Config, Effect};
use proffer_types::agent::AgentOrder;
use proffer_types::hold::ReclaimPolicy;
use proffer_types::offer::{Offer, Operation};
use proffer_types::scheduler::{Call, Event, TaskRecord};
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{Refusal, RefusalCode, Resources, WallTime};
use std::collections::{BTreeMap, BTreeSet};

struct Story {
    harness: Harness,
    svc: FrameworkPeer,
    offers: Vec<Offer>,
}

impl Story {
    /// Two agents, the second of a version that knows of gangs or not; an offer on each.
    fn new(knows_gangs: bool) -> Self {
        let mut harness = Harness::new(Config::default());
        AgentPeer::new("one", "cpus:4;mem:8GiB").register(&mut harness, |_| true);
        let mut two = AgentPeer::new("two", "cpus:4;mem:8GiB");
        if knows_gangs {
            two.register(&mut harness, |_| true);
        } else {
            two.register_as_first_version(&mut harness);
        }
        let mut svc = FrameworkPeer::new("svc", "r1", "eng");
        svc.subscribe(&mut harness, false);
        svc.hear_effects(&harness.take_effects());
        svc.call(&mut harness, Call::Revive { roles: BTreeSet::new() });
        svc.hear_effects(&harness.take_effects());
        let offers: Vec<Offer> = svc.offers.values().cloned().collect();
        assert_eq!(offers.len(), 2);
        Self { harness, svc, offers }
    }

    fn launch(&mut self, place: usize, name: &str, shape: &str) -> Operation {
        let shape: Resources = shape.parse().expect("legal");
        let task = self.svc.launch(name, shape, None);
        Operation::Launch { agent: self.offers[place].agent, tasks: vec![task] }
    }

    /// What an accept of both offers is answered, and what agents are told.
    fn accept(&mut self, operations: Vec<Operation>) -> (Option<Refusal>, Vec<AgentOrder>) {
        let mut accept = self.svc.accept(&self.offers, Vec::new());
        accept.operations = operations;
        let template = template();
        let digest = template.digest();
        let calls = vec![Call::Template { digest, template }, Call::Accept(accept)];
        self.svc.calls(&mut self.harness, calls);
        let (mut answer, mut orders) = (None, Vec::new());
        for effect in self.harness.take_effects() {
            match effect {
                Effect::SendAgent { frame, .. } => orders.extend(frame.orders),
                Effect::SendFramework { frame, .. } => {
                    for event in frame.events {
                        if let Event::Accepted { refusal, .. } = event {
                            answer = Some(refusal);
                        }
                    }
                }
                _ => {}
            }
        }
        (answer.expect("it is answered"), orders)
    }

    fn refused(&mut self, operations: Vec<Operation>) -> Refusal {
        let (refusal, orders) = self.accept(operations);
        assert_eq!(orders, [], "all or nothing");
        assert!(self.harness.master.tasks.table.is_empty(), "a refusal books nothing");
        refusal.expect("it is refused")
    }
}

#[test]
fn k3_launches_on_several_agents_are_prepared_and_not_launched() {
    let mut story = Story::new(true);
    let both = vec![story.launch(0, "a", "cpus:1"), story.launch(1, "b", "cpus:1")];
    let (refusal, orders) = story.accept(both);
    assert_eq!(refusal, None);
    let prepared = orders.iter().filter(|it| matches!(it, AgentOrder::Prepare { .. })).count();
    let launched = orders.iter().any(|it| matches!(it, AgentOrder::Launch { .. }));
    assert_eq!((prepared, launched), (2, false));
}

#[test]
fn k3_a_task_says_which_agent_its_gang_waits_for() {
    let mut story = Story::new(true);
    let both = vec![story.launch(0, "a", "cpus:1"), story.launch(1, "b", "cpus:1")];
    story.accept(both);
    let rows: Vec<TaskRecord> =
        story.harness.master.tasks.table.values().map(|row| row.record.clone()).collect();
    let said = crate::explain_task(&rows[0], None, rows.iter(), WallTime(0)).summary;
    assert_eq!(
        said,
        "a is booked on a1 (one); g1-1 starts together and waits for one, two to prepare"
    );
    let prepared = |row: &TaskRecord| {
        let reason = StatusReason::GangPrepared;
        TaskRecord { status: TaskStatus { reason, ..row.status.clone() }, ..row.clone() }
    };
    let rows = [prepared(&rows[0]), rows[1].clone()];
    let said = crate::explain_task(&rows[0], None, rows.iter(), WallTime(0)).summary;
    assert!(
        said.ends_with(
            "is prepared on a1 (one); g1-1 starts together and waits for two to prepare"
        ),
        "{said}"
    );
    let rows = [prepared(&rows[0]), prepared(&rows[1])];
    let said = crate::explain_task(&rows[0], None, rows.iter(), WallTime(0)).summary;
    assert!(said.ends_with("all of g1-1 are prepared and about to start"), "{said}");
}

#[test]
fn k3_a_refusal_names_the_task_at_fault_on_whichever_agent() {
    let mut story = Story::new(true);
    let both = vec![story.launch(0, "a", "cpus:1"), story.launch(1, "b", "cpus:5")];
    let refusal = story.refused(both);
    assert_eq!(refusal.code, RefusalCode::InsufficientResources);
    assert_eq!(refusal.field, "operations[1].tasks[0].resources");
}

#[test]
fn k5_an_agent_that_does_not_know_gangs_is_sent_none() {
    let mut story = Story::new(false);
    let both = vec![story.launch(0, "a", "cpus:1"), story.launch(1, "b", "cpus:1")];
    let refusal = story.refused(both);
    assert_eq!(refusal.code, RefusalCode::NotSupported);
    assert_eq!(refusal.field, "operations[1].agent");
    // Alone it may launch there as ever: the refusal left the offers held.
    let alone = vec![story.launch(1, "b", "cpus:1")];
    assert_eq!(story.accept(alone).0, None);
}

#[test]
fn k3_a_reservation_is_no_part_of_a_gang() {
    let mut story = Story::new(true);
    let reserve = Operation::Reserve {
        agent: story.offers[0].agent,
        resources: "cpus:1".parse().expect("legal"),
        role: "eng".parse().expect("legal"),
        principal: None,
        labels: BTreeMap::new(),
        reclaim: ReclaimPolicy::Retain,
    };
    let all = vec![reserve, story.launch(0, "a", "cpus:1"), story.launch(1, "b", "cpus:1")];
    let refusal = story.refused(all);
    assert_eq!(
        (refusal.code, refusal.field.as_str()),
        (RefusalCode::NotSupported, "operations[0]")
    );
}
