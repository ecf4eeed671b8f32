//! A framework that wants classical offers: it picks, keeps, gives back, and is told what lapses.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod keeper;

use proffer_sdk_core::testing::{Bench, OFFER_TTL};
use proffer_sdk_core::{Context, Framework, FrameworkEvent, Template};
use proffer_types::offer::{Offer, Operation};
use proffer_types::scheduler::{Call, FrameworkInfo};
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
    Keep,
    Decline,
    /// Only this zone from now on.
    Want(&'static str),
}

fn first(ctx: &Context) -> Offer {
    ctx.offers().next().expect("one is held").clone()
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
            FrameworkEvent::Input(Order::Launch(needs)) => {
                let offer = first(ctx);
                let template = Template::command(["/bin/true"]).expect("valid");
                let launch = TaskLaunch {
                    name: "picked".parse().expect("valid"),
                    token: ctx.next_token(),
                    template: ctx.send_template(&template),
                    resources: needs.parse().expect("valid"),
                    variables: BTreeMap::new(),
                    labels: BTreeMap::new(),
                    group: None,
                    priority: 0,
                    budget: None,
                };
                let operation = Operation::Launch { agent: offer.agent, tasks: vec![launch] };
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
            FrameworkEvent::Task { task, .. } => self.states.push(task.state()),
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
