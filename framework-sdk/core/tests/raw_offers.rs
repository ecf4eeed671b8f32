//! A framework that wants classical offers: it picks, keeps, gives back, and is told what lapses.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod keeper;

use proffer_sdk_core::testing::{Bench, OFFER_TTL};
use proffer_sdk_core::{Context, Framework, FrameworkEvent, Template};
use proffer_types::offer::{Offer, Operation};
use proffer_types::scheduler::{Call, FrameworkInfo};
use proffer_types::task::StatusReason;
use proffer_types::template::TaskLaunch;
use proffer_types::{
    AgentId, Constraint, ConstraintRule, DurationMs, Now, OfferCondition, OfferConditions, OfferId,
    Pattern, RefusalCode, TaskState,
};
use std::collections::BTreeMap;

#[derive(Default)]
struct Picker {
    answers: Vec<Option<RefusalCode>>,
    lost: Vec<OfferId>,
    states: Vec<TaskState>,
    reasons: Vec<StatusReason>,
    /// Offers only here to begin with.
    zone: Option<&'static str>,
}

fn in_zone(zone: &str) -> OfferConditions {
    let rule = ConstraintRule::Matches(Pattern::new(zone).expect("valid"));
    let any_of = vec![vec![Constraint { attribute: "zone".to_owned(), rule }]];
    let condition = OfferCondition { any_of, ..OfferCondition::default() };
    let role = keeper::info().roles.first().expect("it has one").clone();
    OfferConditions::from([(role, condition)])
}

enum Order {
    /// Launch a task that needs so much of the first offer held.
    Launch(&'static str),
    /// Launch a task that needs so much on each agent that an offer is held of, in one accept.
    LaunchOnAll(&'static str),
    Keep,
    Decline,
    /// Only this zone from now on.
    Want(&'static str),
}

fn first(ctx: &Context) -> Offer {
    ctx.offers().next().expect("one is held").clone()
}

fn launch(name: &str, needs: &str, ctx: &mut Context) -> TaskLaunch {
    let template = Template::command(["/bin/true"]).expect("valid");
    TaskLaunch {
        name: name.parse().expect("valid"),
        token: ctx.next_token(),
        template: ctx.send_template(&template),
        resources: needs.parse().expect("valid"),
        variables: BTreeMap::new(),
        labels: BTreeMap::new(),
        group: None,
        priority: 0,
        budget: None,
    }
}

impl Framework for Picker {
    type Input = Order;

    fn info(&self) -> FrameworkInfo {
        keeper::info()
    }

    fn wants_raw_offers(&self) -> bool {
        true
    }

    fn offer_conditions(&self) -> OfferConditions {
        self.zone.map(in_zone).unwrap_or_default()
    }

    fn handle(&mut self, event: FrameworkEvent<Order>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Input(Order::LaunchOnAll(needs)) => {
                let offers: Vec<Offer> = ctx.offers().cloned().collect();
                let mut operations = Vec::new();
                for offer in &offers {
                    let tasks = vec![launch(&format!("on-{}", offer.agent), needs, ctx)];
                    operations.push(Operation::Launch { agent: offer.agent, tasks });
                }
                let ids: Vec<OfferId> = offers.iter().map(|offer| offer.id).collect();
                ctx.accept(&ids, operations, DurationMs(0)).expect("they are held");
            }
            FrameworkEvent::Input(Order::Launch(needs)) => {
                let offer = first(ctx);
                let tasks = vec![launch("picked", needs, ctx)];
                let operation = Operation::Launch { agent: offer.agent, tasks };
                ctx.accept(&[offer.id], vec![operation], DurationMs(0)).expect("it is held");
            }
            FrameworkEvent::Input(Order::Want(zone)) => {
                ctx.want_offers(in_zone(zone)).expect("makes sense");
            }
            FrameworkEvent::Input(Order::Keep) => assert!(ctx.keep(first(ctx).id)),
            FrameworkEvent::Input(Order::Decline) => {
                ctx.decline(&[first(ctx).id], DurationMs(60_000));
            }
            FrameworkEvent::AcceptAnswered { refusal, .. } => {
                self.answers.push(refusal.map(|refusal| refusal.code));
            }
            FrameworkEvent::Rescinded { offers, .. } => self.lost.extend(offers),
            FrameworkEvent::Task { task, .. } => {
                self.states.push(task.state());
                self.reasons.push(task.record.status.reason);
            }
            _ => {}
        }
    }
}

fn bench() -> Bench<Picker> {
    let mut bench = Bench::new(Picker::default());
    bench.agent("one", "cpus:4;mem:8GiB");
    bench.settle();
    bench
}

#[test]
fn a_raw_offer_is_held_until_it_is_used() {
    let mut bench = bench();
    let demands = bench.take_calls().into_iter().any(|call| matches!(call, Call::Demand { .. }));
    assert!(!demands, "stating demand would end classical offers");
    assert_eq!(bench.context().offers().count(), 1);
    bench.input(Order::Launch("cpus:1;mem:1GiB"));
    assert_eq!(bench.framework().answers, [None]);
    assert_eq!(bench.framework().states, [TaskState::Staging, TaskState::Taken]);
    assert_eq!(bench.live(), [("picked".to_owned(), AgentId(1), TaskState::Taken)]);
    let rest = "cpus:3;mem:7GiB".parse().expect("valid");
    assert_eq!(bench.context().offers().next().expect("the rest").resources, rest);
}

#[test]
fn k3_one_accept_may_launch_on_several_agents_and_is_refused_as_a_whole() {
    let mut bench = bench();
    bench.agent("two", "cpus:2;mem:4GiB");
    bench.settle();
    assert_eq!(bench.context().offers().count(), 2);
    bench.input(Order::LaunchOnAll("cpus:3;mem:1GiB"));
    assert_eq!(bench.framework().answers, [Some(RefusalCode::InsufficientResources)]);
    assert!(bench.context().tasks().is_empty(), "all or none");
    assert_eq!(bench.context().offers().count(), 2, "and nothing is used up");
    bench.input(Order::LaunchOnAll("cpus:1;mem:1GiB"));
    assert_eq!(bench.framework().answers.last(), Some(&None));
    assert_eq!(bench.live().len(), 2);
    let prepared = bench.framework().reasons.iter();
    let prepared = prepared.filter(|it| **it == StatusReason::GangPrepared).count();
    assert_eq!(prepared, 2, "each is prepared before any starts");
}

#[test]
fn a_refused_accept_leaves_the_offer_held_and_the_name_free() {
    let mut bench = bench();
    let held = bench.context().offers().next().expect("one").id;
    bench.input(Order::Launch("cpus:100"));
    assert_eq!(bench.framework().answers, [Some(RefusalCode::InsufficientResources)]);
    assert_eq!(bench.context().offers().next().map(|offer| offer.id), Some(held));
    assert!(bench.context().tasks().is_empty());
    bench.input(Order::Launch("cpus:1"));
    assert_eq!(bench.framework().answers.last(), Some(&None));
}

#[test]
fn a_kept_offer_is_renewed_and_another_lapses() {
    let mut bench = bench();
    bench.input(Order::Keep);
    bench.take_calls();
    bench.advance(DurationMs(OFFER_TTL.0 * 2));
    let renewed = bench.take_calls().into_iter().filter(|c| matches!(c, Call::Renew { .. }));
    assert!(renewed.count() >= 3, "at half its term");
    assert_eq!(bench.framework().lost, []);
    bench.input(Order::Decline);
    let held = bench.context().offers().next().expect("offered anew").id;
    bench.advance(OFFER_TTL);
    assert_eq!(bench.framework().lost, [held]);
}

#[test]
fn offers_end_with_their_stream() {
    let mut bench = bench();
    let held = bench.context().offers().next().expect("one").id;
    bench.cut();
    assert_eq!(bench.framework().lost, [held]);
    assert_eq!(bench.context().offers().count(), 0);
}

#[test]
fn what_it_wants_is_said_with_each_subscription_and_when_it_changes() {
    let mut bench = Bench::new(Picker { zone: Some("a"), ..Picker::default() });
    bench.agent_with("one", "cpus:4;mem:8GiB", "zone:a");
    bench.agent_with("two", "cpus:4;mem:8GiB", "zone:b");
    bench.settle();
    let agents = |bench: &Bench<Picker>| -> Vec<AgentId> {
        bench.context().offers().map(|offer| offer.agent).collect()
    };
    assert_eq!(agents(&bench), [AgentId(1)]);
    bench.input(Order::Want("b"));
    bench.settle();
    assert_eq!(agents(&bench), [AgentId(1), AgentId(2)], "what is held stays");
    bench.cut();
    bench.mend();
    bench.advance(DurationMs(5_000));
    assert_eq!(agents(&bench), [AgentId(2)]);
}
