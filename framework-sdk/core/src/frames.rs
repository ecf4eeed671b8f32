//! Puts calls into frames that a master reads at once.

use proffer_types::scheduler::Call;
use proffer_types::{DurationMs, OfferCondition, OfferId};

/// Weight of the calls in one frame; about a launch each, so a frame stays far below 4 MiB.
const FRAME_WEIGHT_MAX: usize = 1_000;

/// Renewals of many leases.
pub(crate) fn renewals(offers: &[OfferId]) -> Vec<Call> {
    offers.chunks(FRAME_WEIGHT_MAX).map(|offers| Call::Renew { offers: offers.to_vec() }).collect()
}

/// Declines of one term go together.
pub(crate) fn join_declines(declines: Vec<Call>) -> Vec<Call> {
    let mut joined: Vec<(DurationMs, Vec<OfferId>)> = Vec::new();
    for call in declines {
        let Call::Decline { offers, refuse_for } = call else { continue };
        match joined.iter_mut().find(|(term, _)| *term == refuse_for) {
            Some((_, together)) => together.extend(offers),
            None => joined.push((refuse_for, offers)),
        }
    }
    joined.into_iter().map(|(refuse_for, offers)| Call::Decline { offers, refuse_for }).collect()
}

/// Cuts calls into frames of bounded weight, in order.
pub(crate) fn frames(calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut frames: Vec<Vec<Call>> = Vec::new();
    let mut weight = 0;
    for call in calls {
        let more = weigh(&call);
        match frames.last_mut() {
            Some(frame) if weight + more <= FRAME_WEIGHT_MAX => {
                weight += more;
                frame.push(call);
            }
            Some(_) | None => {
                weight = more;
                frames.push(vec![call]);
            }
        }
    }
    frames
}

fn weigh(call: &Call) -> usize {
    use proffer_types::offer::Operation;
    match call {
        Call::Accept(accept) => accept
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Launch { tasks, .. } => 1 + tasks.len(),
                Operation::Reserve { .. }
                | Operation::Unreserve { .. }
                | Operation::CreateVolume { .. }
                | Operation::GrowVolume { .. }
                | Operation::DestroyVolume { .. } => 1,
            })
            .sum(),
        Call::Demand { groups } => 1 + groups.len(),
        Call::Budgets { budgets } => 1 + budgets.len(),
        // A template or a commit may be large; each has a frame of its own.
        Call::Template { .. } | Call::State { .. } => FRAME_WEIGHT_MAX / 2 + 1,
        Call::AcceptInverseOffers { offers } | Call::DeclineInverseOffers { offers, .. } => {
            16 + offers.len()
        }
        Call::Subscribe { conditions, .. } | Call::OfferConditions { conditions } => {
            let of = |condition: &OfferCondition| {
                condition.any_of.iter().map(Vec::len).sum::<usize>() + condition.minimum.len()
            };
            1 + conditions.values().map(of).sum::<usize>()
        }
        Call::Decline { .. }
        | Call::Renew { .. }
        | Call::Suppress { .. }
        | Call::Revive { .. }
        | Call::Kill { .. }
        | Call::Acknowledge { .. }
        | Call::Snapshot
        | Call::Teardown
        | Call::Heartbeat => 1,
    }
}
