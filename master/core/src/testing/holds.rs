//! Stories of reservations and volumes (K18): what is wanted is written, then made so by the agent, then
//! written, then offered; and whoever dies between two of these steps, nothing is lost and nobody else gets
//! it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a story looks for one thing among many")]

use super::{AgentPeer, FrameworkPeer, Harness, describe};
use crate::{Command, Config, Effect, ReplyTo};
use proffer_types::agent::AgentOrder;
use proffer_types::hold::{
    HoldCall, HoldChange, HoldId, HoldKey, HoldState, NewReservation, NewVolume, ReclaimPolicy,
};
use proffer_types::offer::{Offer, Operation};
use proffer_types::operator::{Change, HoldRow, OperatorAnswer, OperatorCall};
use proffer_types::scheduler::{Call, Event};
use proffer_types::{
    AgentId, DurationMs, FrameworkId, OfferId, PrincipalName, Refusal, RefusalCode, ReservationId,
    Resources, VolumeId,
};
use std::collections::BTreeMap;

const A1: AgentId = AgentId(1);
const R1: HoldId = HoldId::Reservation(ReservationId(1));
const V2: HoldId = HoldId::Volume(VolumeId(2));

struct Story {
    harness: Harness,
    agent: AgentPeer,
    replies: u64,
}

fn reserve(resources: &str, role: &str) -> HoldCall {
    let new = NewReservation {
        resources: resources.parse().expect("legal"),
        below: None,
        role: role.parse().expect("legal"),
        labels: BTreeMap::new(),
        reclaim: ReclaimPolicy::Retain,
    };
    HoldCall::Reserve { agent: A1, new }
}

fn volume(on: u64, bytes: u64) -> HoldCall {
    let new = NewVolume {
        on: ReservationId(on),
        bytes,
        container_path: "data".to_owned(),
        shared: false,
        reclaim: ReclaimPolicy::Retain,
    };
    HoldCall::CreateVolume { new }
}

impl Story {
    fn new() -> Self {
        let mut harness = Harness::new(Config::default());
        let mut agent = AgentPeer::new("one", "cpus:8;mem:16GiB;disk:100B");
        agent.register(&mut harness, |_| true);
        harness.take_effects();
        Self { harness, agent, replies: 0 }
    }

    fn call(&mut self, call: OperatorCall) -> Option<OperatorAnswer> {
        self.replies += 1;
        let reply_to = ReplyTo(self.replies);
        let principal = PrincipalName::new("cert:proffer://operator/ann").expect("legal");
        self.harness.turn(Command::Operator { reply_to, principal, call });
        self.agent.hear(&self.harness);
        let effects = self.harness.take_effects();
        effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { reply_to: to, answer, .. } if to == reply_to => Some(answer),
            _ => None,
        })
    }

    fn wants(&mut self, call: HoldCall) -> Option<OperatorAnswer> {
        self.call(OperatorCall::Hold { call, dry_run: false })
    }

    fn refused(&mut self, call: HoldCall) -> Refusal {
        match self.wants(call) {
            Some(OperatorAnswer::Refused(refusal)) => refusal,
            other => panic!("{other:?} is no refusal"),
        }
    }

    /// The agent does as it was told.
    fn settle(&mut self) {
        while !self.agent.hold_orders.is_empty() {
            self.agent.carry_out_holds(&mut self.harness);
            self.agent.hear(&self.harness);
            self.harness.take_effects();
        }
    }

    fn does(&mut self, call: HoldCall) {
        let answer = self.wants(call);
        assert!(matches!(answer, Some(OperatorAnswer::Done { .. })), "{answer:?}");
        self.settle();
    }

    fn rows(&mut self) -> BTreeMap<HoldKey, HoldRow> {
        let now = self.harness.now;
        let rows = self.harness.master.rows(now).into_iter();
        rows.filter_map(|row| match row {
            Change::Hold(row) => Some((row.key(), row)),
            _ => None,
        })
        .collect()
    }

    fn state(&mut self, id: HoldId) -> Option<HoldState> {
        self.rows().get(&HoldKey { agent: A1, id }).map(|row| row.state)
    }

    /// What everybody may have of the agent.
    fn total(&self) -> String {
        self.harness.master.agents.get(A1).expect("registered").total.to_string()
    }

    fn register(&mut self) {
        self.agent.register(&mut self.harness, |_| true);
        self.harness.take_effects();
    }

    fn fail_over(&mut self) {
        self.harness.fail_over();
        self.agent.connection = None;
        self.register();
    }
}

const PLAIN: &str = "cpus:8;mem:16GiB;disk:100B";

#[test]
fn k18_a_reservation_is_written_made_written_and_only_then_offered() {
    let mut story = Story::new();
    let call = OperatorCall::Hold { call: reserve("cpus:3", "eng"), dry_run: true };
    let preview = story.call(call);
    assert!(
        matches!(preview, Some(OperatorAnswer::Done { message }) if message.starts_with("would"))
    );
    assert_eq!((story.state(R1), story.total().as_str()), (None, PLAIN));

    story.harness.hold_writes = true;
    assert_eq!(story.wants(reserve("cpus:3", "eng")), None, "not before it is durable");
    assert_eq!(story.total(), "cpus:5;mem:16GiB;disk:100B", "nobody gets it meanwhile");
    assert_eq!(story.agent.hold_orders, [], "the agent hears of what is durable");
    story.harness.complete_writes();
    story.agent.hear(&story.harness);
    let effects = story.harness.take_effects();
    let (mut shown_at, mut answered_at) = (None, None);
    for effect in &effects {
        match effect {
            Effect::Publish { first, changes, .. } => {
                let place = changes.iter().position(|change| matches!(change, Change::Hold(_)));
                shown_at = shown_at.or(place.map(|place| first.change + place as u64));
            }
            Effect::Reply { at, .. } => answered_at = Some(at.change),
            _ => {}
        }
    }
    assert!(shown_at.is_some() && shown_at < answered_at, "K6: {shown_at:?} {answered_at:?}");
    let lines: Vec<String> = effects.iter().flat_map(describe).collect();
    assert_eq!(
        lines,
        ["reply: r1 on a1: cpus:3 become cpus(eng):3", "-> a1 s1: apply r1 op 1: cpus(eng):3"]
    );
    assert_eq!(story.state(R1), Some(HoldState::Pending));
    assert_eq!(story.total(), "cpus:5;mem:16GiB;disk:100B");
    story.harness.hold_writes = true;
    story.agent.carry_out_holds(&mut story.harness);
    assert_eq!(story.total(), "cpus:5;mem:16GiB;disk:100B", "that it is there is not durable");
    story.harness.complete_writes();
    assert_eq!(story.state(R1), Some(HoldState::Applied));
    assert_eq!(story.total(), "cpus:5;cpus(eng):3;mem:16GiB;disk:100B");
}

#[test]
fn k18_a_crash_at_each_write_of_the_master_loses_and_doubles_nothing() {
    let change = HoldChange {
        role: Some("ops".parse().expect("legal")),
        labels: Some(BTreeMap::from([("for".to_owned(), "db".to_owned())])),
        ..HoldChange::default()
    };
    let calls = [
        reserve("cpus:3;disk:50B", "eng"),
        HoldCall::Update { id: R1, change },
        volume(1, 20),
        HoldCall::GrowVolume { id: VolumeId(2), bytes: 30 },
        HoldCall::Remove { id: V2 },
        HoldCall::Remove { id: R1 },
    ];
    // Which write is lost, and whether the agent has heard before.
    for crash in 0..4 {
        let mut story = Story::new();
        for call in &calls {
            story.harness.hold_writes = crash == 0;
            let answer = story.wants(call.clone());
            if crash == 0 {
                // The wish was never durable: nobody was told that it is, and it is as if never made.
                assert_eq!(answer, None);
                story.fail_over();
                story.settle();
                let answer = story.wants(call.clone());
                assert!(matches!(answer, Some(OperatorAnswer::Done { .. })), "{answer:?}");
            }
            if crash == 1 {
                // The order is lost with its master.
                story.fail_over();
            }
            story.harness.hold_writes = crash == 2;
            if crash == 3 {
                story.agent.carry_out_holds(&mut story.harness);
                story.fail_over();
            }
            story.settle();
            if crash == 2 {
                // The agent has done it, and that is not durable.
                story.fail_over();
                story.settle();
            }
        }
        assert_eq!(story.rows(), BTreeMap::new(), "crash {crash}");
        assert_eq!((story.total().as_str(), story.agent.holds.len()), (PLAIN, 0), "crash {crash}");
    }
}

#[test]
fn k18_an_update_is_one_step_and_what_the_agent_refuses_is_as_it_was() {
    let mut story = Story::new();
    story.does(reserve("cpus:3", "eng"));
    let change = HoldChange { role: Some("ops".parse().expect("legal")), ..HoldChange::default() };
    story.does(HoldCall::Update { id: R1, change: change.clone() });
    assert_eq!(story.total(), "cpus:5;cpus(ops):3;mem:16GiB;disk:100B");
    // The agent has less than the master believes: it says so, and nothing is changed.
    story.agent.info.resources = "cpus:1;mem:16GiB;disk:100B".parse().expect("legal");
    story.does(HoldCall::Update {
        id: R1,
        change: HoldChange { reclaim: Some(ReclaimPolicy::Delete), ..change },
    });
    let row = &story.rows()[&HoldKey { agent: A1, id: R1 }];
    assert_eq!(
        (row.state, row.hold.reclaim, row.hold.op),
        (HoldState::Applied, ReclaimPolicy::Retain, 2)
    );
    // The next change has a number of its own.
    story.agent.info.resources = PLAIN.parse().expect("legal");
    let change = HoldChange { role: Some("db".parse().expect("legal")), ..HoldChange::default() };
    story.does(HoldCall::Update { id: R1, change });
    assert_eq!(story.agent.holds[&R1].hold.op, 4);
    assert_eq!(story.total(), "cpus:5;cpus(db):3;mem:16GiB;disk:100B");
    // A new one that the agent refuses is not there at all.
    story.agent.info.resources = "cpus:3;mem:16GiB;disk:100B".parse().expect("legal");
    story.does(reserve("cpus:2", "eng"));
    assert_eq!(story.rows().len(), 1);
    assert_eq!(story.total(), "cpus:5;cpus(db):3;mem:16GiB;disk:100B");
}

#[test]
fn a_level_below_rests_on_what_it_is_made_of() {
    let mut story = Story::new();
    story.does(reserve("cpus:3;disk:50B", "eng"));
    let below = |role: &str, cpus: &str| HoldCall::Reserve {
        agent: A1,
        new: NewReservation {
            resources: cpus.parse().expect("legal"),
            below: Some(ReservationId(1)),
            role: role.parse().expect("legal"),
            labels: BTreeMap::new(),
            reclaim: ReclaimPolicy::Retain,
        },
    };
    assert_eq!(story.refused(below("ops", "cpus:1")).field, "role");
    assert_eq!(story.refused(below("eng/db", "cpus:4")).code, RefusalCode::InsufficientResources);
    story.does(below("eng/db", "cpus:1"));
    assert_eq!(story.total(), "cpus:5;cpus(eng):2;cpus(eng/db):1;mem:16GiB;disk:50B;disk(eng):50B");
    let r1 = HoldCall::Remove { id: R1 };
    assert_eq!(story.refused(r1.clone()).code, RefusalCode::InUse, "a level is on it");
    let r2 = HoldId::Reservation(ReservationId(2));
    story.does(HoldCall::Remove { id: r2 });
    story.does(r1);
    assert_eq!(story.total(), PLAIN);
    // Its number is not given again (K19).
    story.does(reserve("cpus:1", "eng"));
    assert_eq!(story.state(HoldId::Reservation(ReservationId(3))), Some(HoldState::Applied));
    assert_eq!(story.refused(HoldCall::Remove { id: r2 }).code, RefusalCode::Removed);
}

#[test]
fn what_cannot_be_is_refused_by_field_and_changes_nothing() {
    let mut story = Story::new();
    story.does(reserve("cpus:3", "eng"));
    let before = story.harness.store.clone();
    let gone = AgentId(9);
    let elsewhere = match reserve("cpus:1", "eng") {
        HoldCall::Reserve { new, .. } => HoldCall::Reserve { agent: gone, new },
        other => other,
    };
    let grow = HoldCall::GrowVolume { id: VolumeId(1), bytes: 5 };
    let of_volume = HoldChange { role: Some("x".parse().expect("legal")), ..HoldChange::default() };
    for (call, code, field) in [
        (reserve("cpus:6", "eng"), RefusalCode::InsufficientResources, "resources"),
        (reserve("", "eng"), RefusalCode::InvalidArgument, "resources"),
        (reserve("cpus:1", "*"), RefusalCode::InvalidArgument, "role"),
        (elsewhere, RefusalCode::NotFound, "agent"),
        (volume(1, 10), RefusalCode::InvalidArgument, "on"),
        (volume(7, 10), RefusalCode::NotFound, "on"),
        (grow, RefusalCode::Removed, "id"),
        (HoldCall::Update { id: V2, change: of_volume }, RefusalCode::NotFound, "id"),
        (HoldCall::Adopt { key: HoldKey { agent: A1, id: R1 } }, RefusalCode::NotFound, "id"),
    ] {
        let refusal = story.refused(call.clone());
        assert_eq!((refusal.code, refusal.field.as_str()), (code, field), "{call:?}: {refusal}");
    }
    assert_eq!(story.harness.store, before);
    let connection = story.agent.connection.take().expect("connected");
    story.harness.cut(connection);
    assert_eq!(story.refused(reserve("cpus:1", "eng")).code, RefusalCode::Unavailable);
    assert_eq!(story.refused(HoldCall::Remove { id: R1 }).code, RefusalCode::Unavailable);
}

fn framework(story: &mut Story) -> FrameworkPeer {
    let mut framework = FrameworkPeer::new("svc", "r1", "eng");
    framework.subscribe(&mut story.harness, false);
    framework.hear_effects(&story.harness.take_effects());
    // It states no demand: it takes what is offered.
    framework.call(&mut story.harness, Call::Heartbeat);
    framework.hear_effects(&story.harness.take_effects());
    framework
}

fn launch(story: &mut Story, framework: &mut FrameworkPeer, name: &str, resources: Resources) {
    let template = super::template();
    let offers: Vec<_> = framework.offers.values().cloned().collect();
    let task = framework.launch(name, resources, None);
    let accept = framework.accept(&offers, vec![task]);
    framework.offers.clear();
    let calls = vec![Call::Template { digest: template.digest(), template }, Call::Accept(accept)];
    framework.calls(&mut story.harness, calls);
    let effects = story.harness.take_effects();
    story.agent.hear_effects(&effects);
    framework.hear_effects(&effects);
}

#[test]
fn offers_that_stand_in_the_way_are_taken_back_and_tasks_are_not_touched() {
    let mut story = Story::new();
    let mut svc = framework(&mut story);
    assert_eq!(svc.offers.len(), 1, "all of the agent is offered");
    story.does(reserve("cpus:3", "eng"));
    assert_eq!(story.state(R1), Some(HoldState::Applied), "the offer was taken back");
    let rescinded = story.harness.master.offers.table.values().all(|it| {
        story.harness.master.agents.get(A1).expect("there").total.contains(&it.offer.resources)
    });
    assert!(rescinded);
    story.harness.wait(DurationMs::from_secs(40));
    let effects = story.harness.take_effects();
    svc.offers.clear();
    svc.hear_effects(&effects);
    if svc.offers.is_empty() {
        svc.call(&mut story.harness, Call::Revive { roles: Default::default() });
        svc.hear_effects(&story.harness.take_effects());
    }
    launch(&mut story, &mut svc, "t1", "cpus:4".parse().expect("legal"));
    let refusal = story.refused(reserve("cpus:2", "ops"));
    assert_eq!(refusal.code, RefusalCode::InsufficientResources, "a task has what it needs");
    assert_eq!(story.agent.tasks.len(), 1);
}

#[test]
fn k18_what_its_agent_does_not_have_is_lost_and_what_nobody_knows_is_quarantined() {
    let mut story = Story::new();
    story.does(reserve("cpus:3;disk:50B", "eng"));
    story.does(volume(1, 20));
    let kept = story.agent.holds.clone();
    // The agent comes back without its disk.
    story.agent.holds.clear();
    story.register();
    assert_eq!((story.state(R1), story.state(V2)), (Some(HoldState::Lost), Some(HoldState::Lost)));
    assert_eq!(story.agent.hold_orders, [], "it is not made anew");
    assert_eq!(story.total(), "cpus:5;mem:16GiB;disk:50B", "and nobody else gets it");
    // The disk is found again: kept from everybody until somebody has looked.
    story.agent.holds = kept.clone();
    story.fail_over();
    assert_eq!(story.state(V2), Some(HoldState::Quarantined));
    assert_eq!(story.total(), "cpus:5;mem:16GiB;disk:50B");
    assert_eq!(story.refused(HoldCall::Remove { id: V2 }).code, RefusalCode::InUse);
    for id in [R1, V2] {
        story.does(HoldCall::Adopt { key: HoldKey { agent: A1, id } });
    }
    assert_eq!(
        (story.state(R1), story.state(V2)),
        (Some(HoldState::Applied), Some(HoldState::Applied))
    );
    assert_eq!(
        story.total(),
        "cpus:5;cpus(eng):3;mem:16GiB;disk:50B;disk(eng):30B;disk(eng)[v2]:20B"
    );
    // A registry that was restored from a copy knows nothing of them, nor of their numbers.
    story.harness.store.retain(|key, _| !key.starts_with("hold/"));
    story.fail_over();
    assert_eq!(story.state(R1), Some(HoldState::Quarantined));
    assert_eq!(story.agent.holds, kept, "nothing was removed");
    for id in [R1, V2] {
        story.does(HoldCall::Adopt { key: HoldKey { agent: A1, id } });
    }
    story.fail_over();
    assert_eq!(story.state(V2), Some(HoldState::Applied));
    // What is lost is forgotten when an operator says so.
    story.agent.holds.clear();
    story.register();
    story.does(HoldCall::Remove { id: V2 });
    story.does(HoldCall::Remove { id: R1 });
    assert_eq!((story.rows().len(), story.total().as_str()), (0, PLAIN));
}

#[test]
fn k18_a_gone_agent_takes_its_holds_with_it_until_its_disk_is_adopted_under_its_new_id() {
    let mut story = Story::new();
    story.does(reserve("disk:50B", "eng"));
    story.does(volume(1, 20));
    let kept = story.agent.holds.clone();
    story.call(OperatorCall::MarkAgentGone { agent: A1, force: true });
    assert_eq!(story.state(V2), Some(HoldState::Lost));
    story.agent.id = None;
    story.agent.holds = kept;
    story.register();
    let here = HoldKey { agent: AgentId(2), id: V2 };
    assert_eq!(story.rows()[&here].state, HoldState::Quarantined);
    for id in [R1, V2] {
        story.does(HoldCall::Adopt { key: HoldKey { id, ..here } });
    }
    let rows = story.rows();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[&here].state, HoldState::Applied);
}

#[test]
fn an_agent_that_is_given_up_with_something_quarantined_leaves_its_books_in_order() {
    let mut story = Story::new();
    story.does(reserve("cpus:2", "eng"));
    story.harness.store.retain(|key, _| !key.starts_with("hold/"));
    story.fail_over();
    assert_eq!(story.state(R1), Some(HoldState::Quarantined));
    // The harness looks at all books after each command.
    story.call(OperatorCall::MarkAgentGone { agent: A1, force: true });
    assert_eq!(story.rows(), BTreeMap::new());
}

#[test]
fn k18_two_agents_with_one_volume_are_told_apart() {
    let mut story = Story::new();
    story.does(reserve("disk:50B", "eng"));
    let mut copy = AgentPeer::new("two", PLAIN);
    copy.holds = story.agent.holds.clone();
    copy.register(&mut story.harness, |_| true);
    story.harness.take_effects();
    let there = HoldKey { agent: AgentId(2), id: R1 };
    assert_eq!(story.rows()[&there].state, HoldState::Quarantined);
    assert_eq!(story.state(R1), Some(HoldState::Applied));
    assert_eq!(story.refused(HoldCall::Adopt { key: there }).code, RefusalCode::AlreadyExists);
}

#[test]
fn an_agent_that_comes_back_with_less_gets_nothing_new_until_it_fits_again() {
    let mut story = Story::new();
    story.does(reserve("cpus:6", "eng"));
    story.agent.info.resources = "cpus:4;mem:16GiB;disk:100B".parse().expect("legal");
    story.register();
    assert_eq!(story.state(R1), Some(HoldState::Applied), "it is not lost");
    assert!(!story.harness.master.agents.get(A1).expect("there").takes_tasks());
    story.agent.info.resources = PLAIN.parse().expect("legal");
    story.register();
    assert!(story.harness.master.agents.get(A1).expect("there").takes_tasks());
    assert_eq!(story.total(), "cpus:2;cpus(eng):6;mem:16GiB;disk:100B");
}

#[test]
fn what_an_agent_was_started_with_for_a_role_is_the_lowest_level_and_stays() {
    let mut story = Story::new();
    let resources = "cpus:4;cpus(eng):4;mem:16GiB;disk(eng):50B;disk:50B";
    story.agent.info.resources = resources.parse().expect("legal");
    story.register();
    story.does(reserve("cpus(eng):2;disk(eng):20B", "eng/db"));
    assert_eq!(story.refused(reserve("cpus(eng):1", "ops")).field, "role");
    assert_eq!(
        story.total(),
        "cpus:4;cpus(eng):2;cpus(eng/db):2;mem:16GiB;disk:50B;disk(eng):30B;disk(eng/db):20B"
    );
    story.does(HoldCall::Remove { id: R1 });
    let whole: Resources = resources.parse().expect("legal");
    assert_eq!(story.total(), whole.to_string());
    // No agent says that it was started with what calls make.
    let mut liar = AgentPeer::new("liar", "cpus:1");
    let mut entry = "cpus(eng):1".parse::<Resources>().expect("legal").entries()[0].clone();
    entry.key.reservations[0].is_static = false;
    liar.info.resources = Resources::from_entries(vec![entry]).expect("one");
    liar.register(&mut story.harness, |_| true);
    assert_eq!(liar.id, None);
}

#[test]
fn i6_a_reservation_counts_against_the_limits_of_its_role_and_of_those_above() {
    let mut story = Story::new();
    let config = proffer_types::role::RoleConfig {
        limit: "cpus:3".parse().expect("legal"),
        ..proffer_types::role::RoleConfig::default()
    };
    story.call(OperatorCall::SetRole { role: "eng".parse().expect("legal"), config });
    assert_eq!(story.refused(reserve("cpus:4", "eng/db")).code, RefusalCode::LimitExceeded);
    story.wants(reserve("cpus:2", "eng/db"));
    let also = story.refused(reserve("cpus:2", "eng"));
    assert_eq!(also.code, RefusalCode::LimitExceeded, "what is under way counts");
    story.settle();
    assert_eq!(story.refused(reserve("cpus:2", "eng")).code, RefusalCode::LimitExceeded);
    story.does(reserve("cpus:1", "eng"));
    story.does(reserve("cpus:4", "ops"));
}

#[test]
fn an_agent_without_a_word_of_holds_is_asked_for_none() {
    let mut story = Story::new();
    let connection = story.agent.connection.take().expect("connected");
    story.harness.cut(connection);
    let mut old = story.agent.clone();
    old.register_as_first_version(&mut story.harness);
    story.agent = old;
    assert_eq!(story.refused(reserve("cpus:1", "eng")).code, RefusalCode::NotSupported);
}

#[test]
fn what_is_to_be_deleted_with_its_framework_goes_when_nobody_uses_it_and_the_rest_stays() {
    for (reclaim, left) in [(ReclaimPolicy::Delete, 0), (ReclaimPolicy::Retain, 2)] {
        let mut story = Story::new();
        let mut svc = framework(&mut story);
        story.does(reserve("disk:50B", "eng"));
        story.does(volume(1, 20));
        // As the framework itself would have made them.
        let made = |id: HoldId, story: &mut Story| {
            let hold = &mut story.agent.holds.get_mut(&id).expect("there").hold;
            (hold.framework, hold.reclaim) = (Some(FrameworkId(1)), reclaim);
        };
        made(R1, &mut story);
        made(V2, &mut story);
        story.register();
        for id in [R1, V2] {
            story.does(HoldCall::Adopt { key: HoldKey { agent: A1, id } });
        }
        story.settle();
        svc.hear_effects(&story.harness.take_effects());
        story.call(OperatorCall::TeardownFramework(svc.id));
        for _ in 0..4 {
            story.settle();
            story.harness.end_turn();
            story.agent.hear(&story.harness);
            story.harness.take_effects();
        }
        assert_eq!(story.rows().len(), left, "{reclaim:?}");
        assert_eq!(story.agent.holds.len(), left);
    }
}

#[test]
fn orders_about_holds_are_sent_once_a_session_and_again_by_the_next_leader() {
    let mut story = Story::new();
    story.wants(reserve("cpus:3", "eng"));
    assert_eq!(story.agent.hold_orders.len(), 1);
    story.register();
    assert_eq!(story.agent.hold_orders.len(), 1, "a new session is told anew");
    story.fail_over();
    assert!(
        matches!(story.agent.hold_orders.as_slice(), [AgentOrder::ApplyHold { hold }] if hold.id == R1)
    );
    story.settle();
    assert_eq!(story.state(R1), Some(HoldState::Applied));
}

/// Accepts offers with these operations; the answer, and what they make or change.
fn accept(
    story: &mut Story,
    framework: &mut FrameworkPeer,
    offers: &[Offer],
    operations: Vec<Operation>,
) -> (Option<Refusal>, Vec<HoldId>) {
    let accept = framework.accept(offers, Vec::new());
    framework.call(
        &mut story.harness,
        Call::Accept(proffer_types::offer::Accept { operations, ..accept }),
    );
    story.agent.hear(&story.harness);
    let effects = story.harness.take_effects();
    framework.hear_effects(&effects);
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::SendFramework { frame, .. } => Some(frame),
        _ => None,
    });
    let mut events = frames.flat_map(|frame| &frame.events);
    events
        .find_map(|event| match event {
            Event::Accepted { refusal, holds, .. } => Some((refusal.clone(), holds.clone())),
            _ => None,
        })
        .expect("an accept is answered")
}

fn of_role(resources: &str, role: &str) -> Operation {
    Operation::Reserve {
        agent: A1,
        resources: resources.parse().expect("legal"),
        role: role.parse().expect("legal"),
        principal: None,
        labels: BTreeMap::new(),
        reclaim: ReclaimPolicy::Delete,
    }
}

fn on(resources: Resources) -> Operation {
    let container_path = "data".to_owned();
    Operation::CreateVolume {
        agent: A1,
        resources,
        container_path,
        shared: false,
        reclaim: ReclaimPolicy::Delete,
    }
}

/// Disk that the framework of these stories has reserved.
fn reserved_disk(bytes: u64) -> Resources {
    let mut entry =
        format!("disk(eng):{bytes}B").parse::<Resources>().expect("legal").entries()[0].clone();
    let level = &mut entry.key.reservations[0];
    (level.is_static, level.principal) = (false, Some("token:test".parse().expect("legal")));
    Resources::from_entries(vec![entry]).expect("one")
}

/// A lease on what is reserved, as an allocator may make it.
fn lease(story: &mut Story, framework: &FrameworkPeer, resources: &Resources) -> Offer {
    story.harness.is_planted = true;
    let epoch = story.harness.master.epoch();
    let master = &mut story.harness.master;
    let agent = master.agents.get_mut(A1).expect("registered");
    // Its allocator has never heard of such leases.
    agent.frozen = None;
    let id = OfferId { epoch, sequence: 1_000_000 };
    let offer = Offer {
        id,
        framework: framework.id,
        role: "eng".parse().expect("legal"),
        agent: A1,
        agent_name: agent.record.info.name.clone(),
        address: String::new(),
        agent_version: agent.version,
        resources: resources.clone(),
        attributes: Default::default(),
        group: None,
        count: 1,
        expires_in: DurationMs(1000),
        unavailability: None,
    };
    agent.offers.insert(id);
    agent.offered = agent.offered.checked_add(resources).expect("apart");
    let made = story.harness.now.monotonic;
    let expires = made.after(DurationMs(1000));
    let entry = crate::state::offers::OfferEntry { offer: offer.clone(), made, expires };
    master.offers.table.insert(id, entry);
    offer
}

#[test]
fn k18_a_framework_reserves_and_makes_a_volume_on_it_in_one_accept() {
    let mut story = Story::new();
    let mut svc = framework(&mut story);
    let offers: Vec<Offer> = svc.offers.values().cloned().collect();
    let operations = vec![of_role("cpus:2;disk:50B", "eng"), on(reserved_disk(20))];
    let (refusal, holds) = accept(&mut story, &mut svc, &offers, operations);
    assert_eq!((refusal, holds), (None, vec![R1, V2]));
    let lines: Vec<String> =
        story.agent.hold_orders.iter().map(|order| format!("{order:?}")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    story.settle();
    assert_eq!(
        story.total(),
        "cpus:6;cpus(eng):2;mem:16GiB;disk:50B;disk(eng):30B;disk(eng)[v2]:20B"
    );
    let row = &story.rows()[&HoldKey { agent: A1, id: V2 }];
    assert_eq!((row.hold.framework, row.hold.owner.as_str()), (Some(svc.id), "token:test"));
    // They go with it.
    story.call(OperatorCall::TeardownFramework(svc.id));
    for _ in 0..4 {
        story.settle();
        story.harness.end_turn();
        story.agent.hear(&story.harness);
        story.harness.take_effects();
    }
    assert_eq!((story.rows().len(), story.total().as_str()), (0, PLAIN));
}

/// What is like it and belongs to others stays theirs meanwhile.
#[test]
fn i3_a_volume_on_a_reservation_of_its_own_accept_takes_nothing_of_another() {
    let mut story = Story::new();
    let mut svc = framework(&mut story);
    let offers: Vec<Offer> = svc.offers.values().cloned().collect();
    let (refusal, _) = accept(&mut story, &mut svc, &offers, vec![of_role("disk:30B", "eng")]);
    assert_eq!(refusal, None);
    story.settle();
    assert_eq!(story.total(), "cpus:8;mem:16GiB;disk:70B;disk(eng):30B");
    let offers = [lease(&mut story, &svc, &"disk:50B".parse().expect("legal"))];
    let operations = vec![of_role("disk:50B", "eng"), on(reserved_disk(20))];
    let (refusal, holds) = accept(&mut story, &mut svc, &offers, operations);
    assert_eq!((refusal, holds.len()), (None, 2));
    assert_eq!(story.total(), "cpus:8;mem:16GiB;disk:20B;disk(eng):30B", "while both are made");
    story.settle();
    assert_eq!(story.total(), "cpus:8;mem:16GiB;disk:20B;disk(eng):60B;disk(eng)[v3]:20B");
}

#[test]
fn all_operations_of_an_accept_or_none_and_the_one_at_fault_is_named() {
    let mut story = Story::new();
    let mut svc = framework(&mut story);
    let template = super::template();
    svc.call(&mut story.harness, Call::Template { digest: template.digest(), template });
    let offers: Vec<Offer> = svc.offers.values().cloned().collect();
    let before = story.harness.store.clone();
    let made = of_role("cpus:2;disk:50B", "eng");
    let eng = |cpus: &str| -> Resources {
        let mut entry =
            format!("cpus(eng):{cpus}").parse::<Resources>().expect("legal").entries()[0].clone();
        let level = &mut entry.key.reservations[0];
        (level.is_static, level.principal) = (false, Some("token:test".parse().expect("legal")));
        Resources::from_entries(vec![entry]).expect("one")
    };
    let task = svc.launch("t1", eng("1"), None);
    let launch = Operation::Launch { agent: A1, tasks: vec![task] };
    let somebody = match of_role("cpus:1", "eng") {
        Operation::Reserve { agent, resources, role, labels, reclaim, .. } => Operation::Reserve {
            agent,
            resources,
            role,
            principal: Some("cert:proffer://framework/other".parse().expect("legal")),
            labels,
            reclaim,
        },
        other => other,
    };
    let unreserve = Operation::Unreserve { agent: A1, resources: eng("1") };
    for (operation, code, field) in [
        (of_role("cpus:7", "eng"), RefusalCode::InsufficientResources, "operations[1].resources"),
        (of_role("cpus:1", "ops"), RefusalCode::PermissionDenied, "operations[1].role"),
        (somebody, RefusalCode::PermissionDenied, "operations[1].principal"),
        (launch, RefusalCode::InsufficientResources, "operations[1].tasks[0].resources"),
        (on(reserved_disk(60)), RefusalCode::InsufficientResources, "operations[1].resources"),
        (
            on("disk:5B".parse().expect("legal")),
            RefusalCode::InvalidArgument,
            "operations[1].resources",
        ),
        (unreserve, RefusalCode::InvalidArgument, "operations[1].resources"),
        (
            Operation::DestroyVolume { agent: A1, resources: reserved_disk(5) },
            RefusalCode::InvalidArgument,
            "operations[1].resources",
        ),
        (
            Operation::Unreserve { agent: AgentId(7), resources: eng("1") },
            RefusalCode::InvalidArgument,
            "operations[1].agent",
        ),
    ] {
        let asked = vec![made.clone(), operation.clone()];
        let (refusal, holds) = accept(&mut story, &mut svc, &offers, asked);
        let refusal = refusal.expect("refused");
        assert_eq!(
            (refusal.code, refusal.field.as_str()),
            (code, field),
            "{operation:?}: {refusal}"
        );
        assert_eq!(holds, []);
    }
    assert_eq!(story.harness.store, before);
    assert_eq!(story.total(), PLAIN);
    let (refusal, _) = accept(&mut story, &mut svc, &offers, vec![made]);
    assert_eq!(refusal, None, "the offers are still held");
}

#[test]
fn a_framework_grows_destroys_and_unreserves_what_is_its_own_out_of_its_leases() {
    let mut story = Story::new();
    let mut svc = framework(&mut story);
    let offers: Vec<Offer> = svc.offers.values().cloned().collect();
    let operations = vec![of_role("disk:50B", "eng"), on(reserved_disk(20))];
    accept(&mut story, &mut svc, &offers, operations);
    story.settle();
    let volume = |story: &Story| story.agent.holds[&V2].hold.held();

    let held = volume(&story).checked_add(&reserved_disk(10)).expect("apart");
    let offer = lease(&mut story, &svc, &held);
    let grow =
        Operation::GrowVolume { agent: A1, volume: volume(&story), addition: reserved_disk(10) };
    let (refusal, holds) = accept(&mut story, &mut svc, &[offer], vec![grow]);
    assert_eq!((refusal, holds), (None, vec![V2]));
    story.settle();
    assert_eq!(story.total(), "cpus:8;mem:16GiB;disk:50B;disk(eng):20B;disk(eng)[v2]:30B");

    let held = volume(&story);
    let offer = lease(&mut story, &svc, &held);
    let destroy = Operation::DestroyVolume { agent: A1, resources: volume(&story) };
    let (refusal, holds) = accept(&mut story, &mut svc, &[offer], vec![destroy]);
    assert_eq!((refusal, holds), (None, vec![V2]));
    story.settle();
    let part = lease(&mut story, &svc, &reserved_disk(50));
    let some = Operation::Unreserve { agent: A1, resources: reserved_disk(20) };
    let (refusal, _) = accept(&mut story, &mut svc, std::slice::from_ref(&part), vec![some]);
    assert_eq!(refusal.expect("a part of one").code, RefusalCode::InvalidArgument);
    let all = Operation::Unreserve { agent: A1, resources: reserved_disk(50) };
    let (refusal, holds) = accept(&mut story, &mut svc, &[part], vec![all]);
    assert_eq!((refusal, holds), (None, vec![R1]));
    story.settle();
    assert_eq!(story.total(), PLAIN);
    // What an operator has reserved for its role it may use, and not give up (K20).
    story.does(reserve("disk:10B", "eng"));
    let held = story.agent.holds.values().next().expect("one").hold.held();
    let offer = lease(&mut story, &svc, &held);
    let unreserve = Operation::Unreserve { agent: A1, resources: held };
    let (refusal, _) = accept(&mut story, &mut svc, &[offer], vec![unreserve]);
    assert_eq!(refusal.expect("refused").code, RefusalCode::PermissionDenied);
}
