//! The fake master's offers: for demand, else classical.

use super::{FakeMaster, OFFER_TTL};
use crate::request::port_resource;
use crate::testing::fake_agent::Standing;
use proffer_types::demand::{DemandGroup, ExpiredGroup};
use proffer_types::offer::Offer;
use proffer_types::scheduler::Event;
use proffer_types::{AgentId, GroupName, OfferId, Quantities, Ranges, ResourceName, Resources};

impl FakeMaster {
    /// Makes offers for the unmet demand; classical offers to a framework that stated none.
    pub fn make_offers(&mut self) {
        if self.active.is_none() {
            return;
        }
        self.expire_demand();
        let mut made = Vec::new();
        if self.has_stated_demand {
            for group in self.demand.values().cloned().collect::<Vec<_>>() {
                self.offer_group(&group, &mut made);
            }
        } else {
            for id in self.agents.keys().copied().collect::<Vec<_>>() {
                let free = self.free(id);
                if !free.is_empty() && self.is_wanted(id, &free) {
                    made.push(self.offer(id, free, None, 0));
                }
            }
        }
        if !made.is_empty() {
            self.say(Event::Offers { offers: made });
        }
    }

    /// Whether an offer of this meets the condition of the role that offers are made for.
    fn is_wanted(&self, id: AgentId, free: &Resources) -> bool {
        let role = self.info.as_ref().and_then(|info| info.roles.first());
        role.and_then(|role| self.conditions.get(role)).is_none_or(|condition| {
            let enough =
                |least: &Quantities| least.iter().all(|(name, value)| free.scalar(name) >= value);
            condition.admits(&self.agents[&id].attributes)
                && (condition.minimum.is_empty() || condition.minimum.iter().any(enough))
        })
    }

    /// Ends the groups whose deadline has passed.
    fn expire_demand(&mut self) {
        let due = self.demand_ends.iter().filter(|(_, end)| **end <= self.now);
        let due: Vec<GroupName> = due.map(|(name, _)| name.clone()).collect();
        let mut groups = Vec::new();
        for name in due {
            self.demand_ends.remove(&name);
            if let Some(DemandGroup { name, generation, target, .. }) = self.demand.remove(&name) {
                groups.push(ExpiredGroup { name, generation, unmet: target });
            }
        }
        if !groups.is_empty() {
            self.say(Event::DemandExpired { groups });
        }
    }

    pub(super) fn offer_group(&mut self, group: &DemandGroup, made: &mut Vec<Offer>) {
        let named = |of: &Option<GroupName>| of.as_ref() == Some(&group.name);
        let live = self
            .known
            .values()
            .filter(|known| named(&known.record.group) && !known.record.status.state.is_terminal());
        let leased = self.offers.values().filter(|offer| named(&offer.group)).map(|o| o.count);
        let met = u32::try_from(live.count()).expect("few") + leased.sum::<u32>();
        let mut unmet = group.target.saturating_sub(met);
        for id in self.agents.keys().copied().collect::<Vec<_>>() {
            let attributes = &self.agents[&id].attributes;
            if unmet == 0 || !group.constraints.iter().all(|rule| rule.holds(attributes)) {
                continue;
            }
            let here = self.known.values().filter(|known| {
                named(&known.record.group)
                    && known.record.status.agent == id
                    && !known.record.status.state.is_terminal()
            });
            let here = u32::try_from(here.count()).expect("few");
            let room = group.per_agent_max.map_or(u32::MAX, |max| max.saturating_sub(here));
            let (share, count) = fit(group, self.free(id), unmet.min(room));
            if count > 0 {
                unmet -= count;
                made.push(self.offer(id, share, Some(group.name.clone()), count));
            }
        }
    }

    pub(super) fn free(&self, id: AgentId) -> Resources {
        let agent = &self.agents[&id];
        if agent.standing != Standing::Registered || self.drained.contains_key(&id) {
            return Resources::new();
        }
        let used = self
            .known
            .values()
            .map(|known| &known.record)
            .filter(|record| record.status.agent == id && !record.status.state.is_terminal())
            .map(|record| &record.resources);
        let leased = self.offers.values().filter(|o| o.agent == id).map(|o| &o.resources);
        used.chain(leased).fold(agent.total.clone(), |free, taken| {
            free.checked_sub(taken).expect("nothing is given twice (I3)")
        })
    }

    pub(super) fn offer(
        &mut self,
        id: AgentId,
        resources: Resources,
        group: Option<GroupName>,
        count: u32,
    ) -> Offer {
        self.last_offer += 1;
        let agent = &self.agents[&id];
        let roles = &self.info.as_ref().expect("it is subscribed").roles;
        let offer = Offer {
            id: OfferId { epoch: self.epoch, sequence: self.last_offer },
            framework: self.framework,
            role: roles.first().expect("a framework has a role").clone(),
            agent: id,
            agent_name: agent.name.clone(),
            address: "127.0.0.1".to_owned(),
            agent_version: agent.version,
            resources,
            attributes: agent.attributes.clone(),
            group,
            count,
            expires_in: OFFER_TTL,
            unavailability: None,
        };
        self.offers.insert(offer.id, offer.clone());
        offer
    }

    /// Takes all offers back.
    pub fn rescind_offers(&mut self) {
        let offers: Vec<OfferId> = std::mem::take(&mut self.offers).into_keys().collect();
        if !offers.is_empty() {
            self.say(Event::Rescinded { offers, reason: "expired".to_owned() });
        }
    }

    pub(super) fn rescind_of(&mut self, agent: AgentId) {
        let offers: Vec<OfferId> =
            self.offers.values().filter(|o| o.agent == agent).map(|o| o.id).collect();
        self.offers.retain(|id, _| !offers.contains(id));
        if !offers.is_empty() {
            self.say(Event::Rescinded { offers, reason: "agent_lost".to_owned() });
        }
    }
}

/// How many of the group's shape fit into `free`, at most `count_max`, and what they take.
fn fit(group: &DemandGroup, free: Resources, count_max: u32) -> (Resources, u32) {
    let ports = group.shape.ports();
    let rest = group.shape.filtered(|entry| entry.key.name != ResourceName::Ports);
    let mut free = free;
    let mut taken = Resources::new();
    let mut count = 0;
    while count < count_max {
        let numbers = if group.fixed_ports {
            Some(ports.clone()).filter(|ports| free.ports().contains(ports))
        } else {
            free.ports().first(ports.count())
        };
        let one = numbers.and_then(|numbers| with_ports(&rest, numbers));
        let Some((one, left)) = one
            .and_then(|one| Some((free.checked_sub(&one).ok()?, one)))
            .map(|(left, one)| (one, left))
        else {
            break;
        };
        free = left;
        taken = taken.checked_add(&one).expect("parts of what was free add up");
        count += 1;
    }
    (taken, count)
}

fn with_ports(rest: &Resources, numbers: Ranges) -> Option<Resources> {
    let mut one = rest.clone();
    if !numbers.parts().is_empty() {
        one.insert(port_resource(numbers)).ok()?;
    }
    Some(one)
}

// The matcher and this master must agree on what fits.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer_matcher;
    use crate::request::tests::request;
    use proffer_types::Generation;

    #[test]
    fn what_is_offered_for_a_group_serves_its_requests() {
        let wanted = request("a").port("x").port("y");
        let group = DemandGroup {
            name: GroupName::new("g").expect("valid"),
            generation: Generation(1),
            role: wanted.role.clone(),
            shape: wanted.shape().expect("valid"),
            fixed_ports: false,
            target: 5,
            constraints: Vec::new(),
            priority: 0,
            per_agent_max: None,
            spread: false,
            gang_size: 1,
            deadline: None,
            revocable: proffer_types::RevocableUse::Refuse,
        };
        let free: Resources = "cpus:4;mem:4GiB;ports:[100-104]".parse().expect("valid");
        let (mut offered, count) = fit(&group, free, 5);
        assert_eq!(count, 2, "five ports are enough for two");
        assert!(offer_matcher::take(&wanted, &mut offered).is_some());
        assert!(offer_matcher::take(&wanted, &mut offered).is_some());
        assert!(offered.is_empty());
    }
}
