//! Keeps offers for another term, a bounded number of times: a lease is for deciding, not for keeping.

use super::decline_offers::check_count;
use crate::limits;
use crate::master::Master;
use crate::state::deadlines::Deadline;
use proffer_types::{DurationMs, FrameworkId, Monotonic, Now, OfferId, Refusal, RefusalCode};

impl Master {
    pub(crate) fn renew_offers(&mut self, framework: FrameworkId, offers: &[OfferId], now: Now) {
        let expires = now.monotonic.after(self.config.offer_ttl);
        let checked: Result<Vec<_>, Refusal> = self.check(|master| {
            check_count(offers)?;
            Ok(offers.iter().map(|id| master.check_renew(framework, *id, expires)).collect())
        });
        let checked = match checked {
            Ok(checked) => checked,
            Err(refusal) => return self.refuse_call(framework, "renew", refusal),
        };
        for (index, (id, checked)) in offers.iter().zip(checked).enumerate() {
            match checked {
                Ok(()) => self.renew(*id, expires),
                Err(refusal) => {
                    let refusal = refusal.within(format!("offers[{index}]"));
                    self.refuse_call(framework, "renew", refusal);
                }
            }
        }
    }

    fn check_renew(
        &self,
        framework: FrameworkId,
        id: OfferId,
        expires: Monotonic,
    ) -> Result<(), Refusal> {
        let ttl = self.config.offer_ttl;
        let held = self.offers.get(id).filter(|entry| entry.offer.framework == framework);
        let entry = held.ok_or_else(|| {
            Refusal::new(RefusalCode::OfferNotHeld, "", format!("{id} is not held"))
        })?;
        let last = entry.made.after(DurationMs(ttl.0.saturating_mul(limits::OFFER_TERMS_MAX)));
        if expires > last {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "",
                format!("{id} was held for {} terms", limits::OFFER_TERMS_MAX),
            )
            .hint("use it or decline it"));
        }
        Ok(())
    }

    fn renew(&mut self, id: OfferId, expires: Monotonic) {
        if let Some(entry) = self.offers.table.get_mut(&id) {
            entry.expires = expires;
            self.deadlines.set(Deadline::Offer(id), expires);
        }
    }
}
