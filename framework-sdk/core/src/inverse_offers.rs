//! What the framework is asked to give up, and what it has answered. The master says all of it at each
//! subscription; the framework is told of each request once an epoch.

use proffer_types::inverse_offer::InverseOffer;
use proffer_types::scheduler::Call;
use proffer_types::{AgentId, InverseOfferId, TaskName};
use std::collections::{BTreeMap, BTreeSet};

/// Answers in one call.
const ANSWERED_AT_ONCE: usize = 256;

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub(crate) struct InverseOffers {
    standing: BTreeMap<InverseOfferId, InverseOffer>,
    by_agent: BTreeMap<AgentId, BTreeSet<InverseOfferId>>,
    answers: BTreeMap<InverseOfferId, Answer>,
    /// Said by an earlier stream and not yet by this one.
    unconfirmed: BTreeSet<InverseOfferId>,
    /// The framework has not been told of them.
    untold: BTreeSet<InverseOfferId>,
    /// They stand no more, and the framework has not been told so.
    withdrawn: BTreeSet<InverseOfferId>,
}

/// What the framework has said.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Accept,
    Decline { reason: String },
}

/// What the framework is to be told.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) asked: Vec<InverseOffer>,
    pub(crate) withdrawn: Vec<InverseOfferId>,
}

impl InverseOffers {
    pub(crate) fn standing(&self) -> &BTreeMap<InverseOfferId, InverseOffer> {
        &self.standing
    }

    /// The one that asks for this task.
    pub(crate) fn of(&self, agent: AgentId, task: &TaskName) -> Option<&InverseOffer> {
        let ids = self.by_agent.get(&agent)?.iter();
        ids.filter_map(|id| self.standing.get(id)).find(|offer| offer.asks_for(agent, task))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A new stream of the same epoch: what it does not say again stands no more.
    pub(crate) fn begin_stream(&mut self) {
        self.unconfirmed = self.standing.keys().copied().collect();
    }

    pub(crate) fn take(&mut self, offers: Vec<InverseOffer>) {
        for offer in offers {
            self.unconfirmed.remove(&offer.id);
            self.by_agent.entry(offer.agent).or_default().insert(offer.id);
            if self.standing.insert(offer.id, offer.clone()).is_none() {
                self.untold.insert(offer.id);
            }
        }
    }

    pub(crate) fn withdraw(&mut self, offers: &[InverseOfferId]) {
        for id in offers {
            self.unconfirmed.remove(id);
            self.answers.remove(id);
            let Some(offer) = self.standing.remove(id) else { continue };
            if let Some(of_agent) = self.by_agent.get_mut(&offer.agent) {
                of_agent.remove(id);
                if of_agent.is_empty() {
                    self.by_agent.remove(&offer.agent);
                }
            }
            if !self.untold.remove(id) {
                self.withdrawn.insert(*id);
            }
        }
    }

    /// The stream has said everything that stands; what was answered is to be said again.
    pub(crate) fn complete(&mut self) -> Vec<Call> {
        let gone: Vec<InverseOfferId> = std::mem::take(&mut self.unconfirmed).into_iter().collect();
        self.withdraw(&gone);
        self.answers.iter().map(|(id, answer)| call(&[*id], answer)).collect()
    }

    /// What the framework has not been told yet.
    pub(crate) fn news(&mut self) -> News {
        let untold = std::mem::take(&mut self.untold);
        News {
            asked: untold.iter().filter_map(|id| self.standing.get(id).cloned()).collect(),
            withdrawn: std::mem::take(&mut self.withdrawn).into_iter().collect(),
        }
    }

    /// The framework answers: what is to be said of what still stands.
    pub(crate) fn answer(&mut self, offers: &[InverseOfferId], answer: &Answer) -> Vec<Call> {
        let known: Vec<InverseOfferId> =
            offers.iter().copied().filter(|id| self.standing.contains_key(id)).collect();
        self.answers.extend(known.iter().map(|id| (*id, answer.clone())));
        known.chunks(ANSWERED_AT_ONCE).map(|ids| call(ids, answer)).collect()
    }
}

fn call(offers: &[InverseOfferId], answer: &Answer) -> Call {
    let offers = offers.to_vec();
    match answer {
        Answer::Accept => Call::AcceptInverseOffers { offers },
        Answer::Decline { reason } => Call::DeclineInverseOffers { offers, reason: reason.clone() },
    }
}
