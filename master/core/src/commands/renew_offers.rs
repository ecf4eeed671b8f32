//! Keeps offers for another term, a bounded number of times: a lease is for deciding, not for keeping.

use super::decline_offers::check_count;
use crate::limits;
use crate::master::Master;
use crate::state::deadlines::Deadline;
use proffer_types::{DurationMs, FrameworkId, Now, OfferId, Refusal, RefusalCode};

impl Master {
    pub(crate) fn renew_offers(&mut self, framework: FrameworkId, offers: &[OfferId], now: Now) {
        if let Err(refusal) = check_count(offers) {
            self.refuse_call(framework, "renew", refusal);
            return;
        }
        for (index, id) in offers.iter().enumerate() {
            if let Err(refusal) = self.renew(framework, *id, now) {
                let refusal = refusal.within(format!("offers[{index}]"));
                self.refuse_call(framework, "renew", refusal);
            }
        }
    }

    fn renew(&mut self, framework: FrameworkId, id: OfferId, now: Now) -> Result<(), Refusal> {
        let ttl = self.config.offer_ttl;
        let held = self.held_offer(framework, id).is_some();
        let entry = self.offers.table.get_mut(&id).filter(|_| held).ok_or_else(|| {
            Refusal::new(RefusalCode::OfferNotHeld, "", format!("{id} is not held"))
        })?;
        let last = entry.made.after(DurationMs(ttl.0.saturating_mul(limits::OFFER_TERMS_MAX)));
        let expires = now.monotonic.after(ttl);
        if expires > last {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "",
                format!("{id} was held for {} terms", limits::OFFER_TERMS_MAX),
            )
            .hint("use it or decline it"));
        }
        self.changing = true;
        entry.expires = expires;
        self.deadlines.set(Deadline::Offer(id), expires);
        Ok(())
    }
}
