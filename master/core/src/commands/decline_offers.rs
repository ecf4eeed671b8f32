//! Offers given back, with a wish for how long the same is not offered again.

use crate::limits;
use crate::master::Master;
use proffer_types::{DurationMs, FrameworkId, Now, OfferId, Refusal, RefusalCode};

impl Master {
    /// An offer that is not held any more was taken back meanwhile: no error, and safe to repeat.
    pub(crate) fn decline_offers(
        &mut self,
        framework: FrameworkId,
        offers: &[OfferId],
        refuse_for: DurationMs,
        now: Now,
    ) {
        if let Err(refusal) = self.check(|_| check_count(offers)) {
            self.refuse_call(framework, "decline", refusal);
            return;
        }
        for id in offers {
            if self.held_offer(framework, *id).is_none() {
                continue;
            }
            if let Some(offer) = self.end_lease(*id) {
                let (role, agent, resources) = (offer.role, offer.agent, offer.resources);
                self.filter(framework, role, agent, resources, refuse_for, now);
            }
        }
    }
}

pub(super) fn check_count(offers: &[OfferId]) -> Result<(), Refusal> {
    if offers.len() <= limits::CALL_OFFERS_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::InvalidArgument,
        "offers",
        format!("more than {} offers", limits::CALL_OFFERS_MAX),
    ))
}
