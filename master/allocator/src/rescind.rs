//! Classical leases that are asked back for demand below its share (K10).

use crate::amounts::{Amounts, spans_contain};
use crate::delta::LeaseId;
use crate::demand::{Bucket, Waiting};
use crate::headroom::Returned;
use crate::state::Allocator;
use proffer_types::Monotonic;
use std::cmp::Ordering;

impl Allocator {
    /// A group found no place. If it is owed one, or its client is below its entitlement, names the
    /// leases of one agent that would make a place: the lowest slot, and only leases of clients that come
    /// later in fair order, or of all for what is owed; never what its holder is owed. One agent at a time:
    /// what is freed wakes the group, and it asks again.
    pub(crate) fn ask_leases_back(
        &mut self,
        group: u32,
        is_owed: bool,
        now: Monotonic,
        rescinds: &mut Vec<LeaseId>,
        steps: &mut u64,
    ) {
        let spec = self.groups[group].spec.as_ref().expect("only stated groups ask");
        let may_ask = is_owed || self.fair.is_below_entitlement(self.node_of(spec.client));
        if self.classical.is_empty() || !may_ask {
            return;
        }
        let mut last = None;
        let slots = self.classical.iter().map(|(slot, _)| *slot).filter(|slot| {
            let is_new = last != Some(*slot);
            last = Some(*slot);
            is_new
        });
        let mut looked_at = 0;
        let found = slots.into_iter().find_map(|slot| {
            looked_at += 1;
            self.would_make_room(group, is_owed, slot, now)
        });
        *steps += looked_at;
        for id in found.into_iter().flatten() {
            let lease = self.leases.get_mut(&id).expect("a lease in the table of classical ones");
            if !std::mem::replace(&mut lease.is_rescinded, true) {
                self.asked_back.insert((lease.slot, id));
                rescinds.push(id);
            }
        }
    }

    /// An agent gained something. Groups that found no room may ask for the classical leases beside it.
    pub(crate) fn wake_beside_classical(&mut self, slot: u32) -> u64 {
        let mut leases =
            self.classical.range((slot, LeaseId(0))..=(slot, LeaseId(u64::MAX))).peekable();
        if leases.peek().is_none() || self.buckets.watching.is_empty() {
            return 0;
        }
        let agent = &self.agents[slot];
        let mut room = agent.free.clone();
        leases.for_each(|(_, lease)| {
            room.add_all(&self.leases[lease].plain);
            room.add_all(&self.leases[lease].lent);
        });
        let fits = |bucket: &Bucket| {
            room.covers(bucket.shape()) && bucket.in_class(agent.class) && bucket.suits_host(agent)
        };
        let buckets = self.buckets.watching.iter().map(|id| &self.buckets[*id]);
        let asleep = buckets.filter(|b| fits(b)).flat_map(|bucket| bucket.for_room.iter().copied());
        let woken: Vec<u32> = asleep.filter(|group| self.may_ask(*group)).collect();
        for group in &woken {
            self.set_waiting(*group, Waiting::Awake);
        }
        1 + woken.len() as u64
    }

    /// Whether a group is owed one more, or its client is below its entitlement.
    fn may_ask(&self, group: u32) -> bool {
        let spec = self.groups[group].spec.as_ref().expect("only stated groups ask");
        let node = self.node_of(spec.client);
        self.fair.is_below_entitlement(node)
            || self.fair.guaranteed(node).covers(self.buckets[spec.bucket].shape())
    }

    /// Whether leases on an agent are on their way back: until then the rest is for who asked for them.
    pub(crate) fn is_asked_back(&self, slot: u32) -> bool {
        !self.asked_back.is_empty()
            && self
                .asked_back
                .range((slot, LeaseId(0))..=(slot, LeaseId(u64::MAX)))
                .next()
                .is_some()
    }

    fn node_of(&self, client: u32) -> u32 {
        self.clients[client].node
    }

    /// The leases in `slot` that make room for a task of the group when taken back.
    fn would_make_room(
        &self,
        group: u32,
        is_owed: bool,
        slot: u32,
        now: Monotonic,
    ) -> Option<Vec<LeaseId>> {
        let (group, agent) = (&self.groups[group], &self.agents[slot]);
        let spec = group.spec.as_ref().expect("only stated groups ask");
        let bucket = &self.buckets[spec.bucket];
        let mut room: Amounts = agent.free.clone();
        let mut taken = Vec::new();
        let mut returned = Amounts::default();
        if !agent.usable || !bucket.in_class(agent.class) || !bucket.suits_host(agent) {
            return None;
        }
        if !self.has_leave(group, spec, bucket, (slot, agent), now) {
            return None;
        }
        let here = self.classical.range((slot, LeaseId(0))..=(slot, LeaseId(u64::MAX)));
        let mut here: Vec<LeaseId> = here.map(|(_, id)| *id).collect();
        // What is lent is taken back first.
        here.sort_by_key(|id| (self.leases[id].lent.is_zero(), *id));
        for id in here {
            if room.covers(bucket.shape()) {
                break;
            }
            let lease = &self.leases[&id];
            let (node, holder) = (self.node_of(spec.client), self.node_of(lease.client));
            // What is owed would be given again at once, as long as there is a guarantee.
            let is_kept = lease.is_owed && self.fair.guaranteed_above(holder).next().is_some();
            let is_lent = !lease.lent.is_zero();
            let is_later = || self.fair.cmp(node, holder) == Ordering::Less;
            if !is_kept && (is_owed || is_lent || is_later()) {
                room.add_all(&lease.plain);
                room.add_all(&lease.lent);
                // What is lent counts as free already.
                returned.add_all(&lease.plain);
                taken.push(id);
            }
        }
        let ranges_fit = bucket.fixed().iter().all(|(dimension, wanted)| {
            let free = agent.book_of(*dimension).map(|book| book.free.as_slice());
            let leased = taken.iter().flat_map(|id| &self.leases[id].spans);
            let leased = leased.filter(|(have, _)| have == dimension).map(|(_, s)| s.as_slice());
            let places: Vec<&[(u64, u64)]> = free.into_iter().chain(leased).collect();
            wanted.iter().all(|one| places.iter().any(|have| spans_contain(have, &[*one])))
        });
        // What others are owed would keep it out all the same.
        let returned = Returned { amounts: Some(&returned), sets: agent.sets };
        let kept = || self.kept_back_after(spec.client, bucket.shape(), &returned);
        let fits = room.covers(bucket.shape()) && ranges_fit && !taken.is_empty();
        (fits && (is_owed || kept().allows(agent.sets))).then_some(taken)
    }
}
