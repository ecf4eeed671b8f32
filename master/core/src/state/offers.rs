//! Outstanding leases.

use proffer_types::offer::Offer;
use proffer_types::{MasterEpoch, Monotonic, OfferId};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct OfferEntry {
    pub(crate) offer: Offer,
    pub(crate) made: Monotonic,
    pub(crate) expires: Monotonic,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Offers {
    pub(crate) table: BTreeMap<OfferId, OfferEntry>,
    last: u64,
}

impl Offers {
    /// A fresh id in `epoch`; never used again, as epochs only rise.
    pub(crate) fn next_id(&mut self, epoch: MasterEpoch) -> OfferId {
        self.last += 1;
        OfferId { epoch, sequence: self.last }
    }

    pub(crate) fn get(&self, id: OfferId) -> Option<&OfferEntry> {
        self.table.get(&id)
    }
}
