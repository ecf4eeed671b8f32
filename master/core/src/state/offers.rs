//! Outstanding leases.

use proffer_types::offer::Offer;
use proffer_types::{Monotonic, OfferId};
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
}

impl Offers {
    pub(crate) fn get(&self, id: OfferId) -> Option<&OfferEntry> {
        self.table.get(&id)
    }
}
