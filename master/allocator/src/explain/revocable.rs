//! What may be taken back at any time: where it would help, and who does not accept it.

use super::{Answer, Wish};
use crate::agents::Agent;
use crate::demand::Spec;
use crate::state::Allocator;
use proffer_types::demand::DemandGroup;
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::{Monotonic, RevocableUse};

impl Allocator {
    /// Agents that have something revocable, or to be lent, for one more task of a group if it accepts that.
    fn with_revocable(&self, wish: &Wish<'_>, now: Monotonic) -> usize {
        let stated = DemandGroup { revocable: RevocableUse::Only, ..wish.spec.stated.clone() };
        let (client, bucket) = (wish.spec.client, wish.spec.bucket);
        let spec = Spec { stated, client, bucket };
        let helps = |slot: u32, agent: &Agent| {
            let place = (slot, agent);
            self.reserved_place(wish.group, &spec, place, false, now).is_some()
                || (agent.usable
                    && agent.free.covers(wish.bucket.shape())
                    && wish.bucket.suits(agent)
                    && self.has_leave(wish.group, &spec, wish.bucket, place, now)
                    && self.lent_task(&spec, wish.bucket, agent).is_some())
        };
        self.agents.iter().filter(|(slot, agent)| helps(*slot, agent)).count()
    }

    /// Of a group that takes nothing else.
    pub(super) fn explain_only_revocable(
        &self,
        subject: &Subject,
        wish: &Wish<'_>,
        waiting: &str,
        now: Monotonic,
    ) -> Explanation {
        let mut answer = Answer::new(subject, "");
        let active = self.agents.iter().filter(|(_, agent)| agent.usable).count();
        let found = self.with_revocable(wish, now);
        answer.step("agents", self.agents.iter().count());
        answer.step("active", active);
        answer.step("enough that is revocable", found);
        if found > 0 {
            answer.summary(format!("{waiting}: {found} agents have room, an offer is due"));
        } else {
            answer.summary(format!(
                "{waiting}: it takes only what is revocable, and no agent has enough of that"
            ));
            answer.hint("let it accept revocable resources without wanting nothing else");
        }
        answer.explanation
    }

    /// What accepting revocable resources would change for a group that waits.
    pub(super) fn advise_revocable(&self, answer: &mut Answer, wish: &Wish<'_>, now: Monotonic) {
        let found = self.with_revocable(wish, now);
        match wish.spec.stated.revocable {
            RevocableUse::Refuse if found > 0 => answer.hint(format!(
                "{found} agents have room for it in what may be taken back: it does not accept that"
            )),
            RevocableUse::Accept if found == 0 => {
                answer.hint("it accepts what may be taken back, and no agent has enough of that");
            }
            RevocableUse::Refuse | RevocableUse::Accept | RevocableUse::Only => {}
        }
    }

    /// The same for a framework that states no demand.
    pub(super) fn advise_to_accept(&self, answer: &mut Answer, clients: &[u32]) {
        let accepts =
            |client: &u32| self.conditions.revocable(self.clients[*client].condition).is_accepted();
        let agents = self.revocable_at.len();
        if agents > 0 && !clients.iter().any(accepts) {
            answer.hint(format!(
                "{agents} agents have something that may be taken back: it does not accept that"
            ));
        }
    }

    /// Whether an agent has something free that a client sees and that is worth an offer.
    pub(super) fn is_worth_to(&self, client: u32, agent: &Agent) -> bool {
        let accepts = self.conditions.revocable(self.clients[client].condition).is_accepted();
        let has_revocable = !agent.revocable_free().is_empty();
        agent.is_worth_offering() && (!has_revocable || accepts || agent.has_worth_for_good())
    }
}
