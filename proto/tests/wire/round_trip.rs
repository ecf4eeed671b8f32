//! Domain → wire → bytes → wire → domain gives the same, for every message.

use super::strategies as any;
use proffer_proto::pb;
use proffer_proto::weight::is_within;
use proffer_types::Refusal;
use proffer_types::Weight;
use proffer_types::agent::{AgentDown, AgentUp};
use proffer_types::executor::{ExecutorDown, ExecutorUp};
use proffer_types::explanation::Explanation;
use proffer_types::offer::Offer;
use proffer_types::operator::{AgentRow, Change, FrameworkRow, HoldRow, Overview, RoleRow};
use proffer_types::scheduler::{SchedulerDown, SchedulerUp, TaskRecord};
use proffer_types::template::PodTemplate;
use proffer_types::weight::PART;
use proptest::prelude::*;
use prost::Message;
use std::fmt::Debug;

/// Epochs, ids and session around the list.
const FRAME: usize = 64;

fn round_trip<D, P>(domain: &D)
where
    D: Clone + PartialEq + Debug + TryFrom<P, Error = Refusal>,
    P: Message + Default + PartialEq + Debug + for<'a> From<&'a D>,
{
    let wire = P::from(domain);
    let bytes = wire.encode_to_vec();
    let read = P::decode(bytes.as_slice()).expect("what was encoded decodes");
    assert_eq!(read, wire);
    assert_eq!(&D::try_from(read).expect("what was sent is accepted"), domain);
}

/// The same through the JSON of `/v1`.
fn round_trip_json<D, P>(domain: &D)
where
    D: Clone + PartialEq + Debug + TryFrom<P, Error = Refusal>,
    P: serde::Serialize + serde::de::DeserializeOwned + for<'a> From<&'a D>,
{
    let text = serde_json::to_string(&P::from(domain)).expect("serialises");
    let read: P = serde_json::from_str(&text).expect("what was written reads back");
    assert_eq!(&D::try_from(read).expect("what was sent is accepted"), domain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn frames_of_the_scheduler_stream(up in any::scheduler_up(), down in any::scheduler_down()) {
        round_trip::<SchedulerUp, pb::SchedulerUp>(&up);
        round_trip::<SchedulerDown, pb::SchedulerDown>(&down);
        let (epoch, calls) = proffer_proto::convert::calls_from_pb((&up).into()).expect("short");
        prop_assert_eq!(epoch, up.epoch);
        prop_assert_eq!(calls.into_iter().collect::<Result<Vec<_>, _>>(), Ok(up.calls));
    }

    #[test]
    fn frames_of_the_agent_stream(up in any::agent_up(), down in any::agent_down()) {
        round_trip::<AgentUp, pb::AgentUp>(&up);
        round_trip::<AgentDown, pb::AgentDown>(&down);
    }

    #[test]
    fn frames_of_the_executor_stream(up in any::executor_up(), down in any::executor_down()) {
        round_trip::<ExecutorUp, pb::ExecutorUp>(&up);
        round_trip::<ExecutorDown, pb::ExecutorDown>(&down);
        prop_assert!(!format!("{up:?}").contains("token: \""), "its secret is not shown");
    }

    #[test]
    fn k15_no_frame_is_heavier_than_it_is_weighed(
        scheduler in any::scheduler_down(),
        agent in any::agent_down(),
    ) {
        let fits = |name: &str, bytes: Vec<u8>, weight: usize| {
            assert!(bytes.len() <= weight, "{name}: {} bytes, weighed {weight}", bytes.len());
            assert!(is_within(name, &bytes, weight / PART), "{name}: too many parts");
        };
        let weight: usize = scheduler.events.iter().map(Weight::weight).sum();
        let bytes = pb::SchedulerDown::from(&scheduler).encode_to_vec();
        fits("SchedulerDown", bytes, FRAME + weight);
        let weight: usize = agent.orders.iter().map(Weight::weight).sum();
        let bytes = pb::AgentDown::from(&agent).encode_to_vec();
        fits("AgentDown", bytes, FRAME + weight);
    }

    #[test]
    fn rows_and_changes(
        agent in any::agent_row(),
        framework in any::framework_row(),
        task in any::task_record(),
        offer in any::offer(),
        role in any::role_row(),
        hold in any::hold_row(),
        change in any::change(),
    ) {
        round_trip::<AgentRow, pb::AgentRow>(&agent);
        round_trip_json::<AgentRow, pb::AgentRow>(&agent);
        round_trip::<FrameworkRow, pb::FrameworkRow>(&framework);
        round_trip_json::<FrameworkRow, pb::FrameworkRow>(&framework);
        round_trip::<TaskRecord, pb::TaskRecord>(&task);
        round_trip::<TaskRecord, pb::TaskRow>(&task);
        round_trip_json::<TaskRecord, pb::TaskRow>(&task);
        round_trip::<Offer, pb::Offer>(&offer);
        round_trip::<Offer, pb::OfferRow>(&offer);
        round_trip_json::<Offer, pb::OfferRow>(&offer);
        round_trip::<RoleRow, pb::RoleRow>(&role);
        round_trip_json::<RoleRow, pb::RoleRow>(&role);
        round_trip::<HoldRow, pb::HoldRow>(&hold);
        round_trip_json::<HoldRow, pb::HoldRow>(&hold);
        round_trip::<Change, pb::Change>(&change);
        round_trip_json::<Change, pb::Change>(&change);
    }

    #[test]
    fn templates_explanations_and_the_overview(
        template in any::pod_template(),
        explanation in any::explanation(),
        overview in any::overview(),
    ) {
        round_trip::<PodTemplate, pb::PodTemplate>(&template);
        let read = PodTemplate::try_from(pb::PodTemplate::from(&template)).expect("accepted");
        prop_assert_eq!(read.digest(), template.digest(), "the digest outlives the wire (K16)");
        round_trip::<Explanation, pb::Explanation>(&explanation);
        round_trip_json::<Explanation, pb::Explanation>(&explanation);
        round_trip::<Overview, pb::Overview>(&overview);
        round_trip_json::<Overview, pb::Overview>(&overview);
    }
}
