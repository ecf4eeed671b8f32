//! What frameworks do about reservations and volumes in an accept: checked against what remains of their
//! leases, in order. What an operation makes may be built on by later ones and is used by no task before
//! it is offered.

use crate::limits;
use crate::master::Master;
use crate::registry::HoldIntent;
use crate::state::holds::Writing;
use proffer_types::hold::{Hold, HoldId, HoldKind, ReclaimPolicy, check_volumes, without};
use proffer_types::offer::Operation;
use proffer_types::resources::{Resource, ResourceError};
use proffer_types::{
    AgentId, PrincipalName, Quantity, Refusal, RefusalCode, ReservationId, Resources, RoleName,
    VolumeId,
};
use std::collections::BTreeMap;

use super::accept_offers::{Purse, lacking};
use super::hold_plan::{Claimant, HoldPlan};

type Purses = BTreeMap<AgentId, Purse>;

fn wrong(field: &str, message: String) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}

impl Master {
    /// One operation that is no launch. `before` are those of earlier ones.
    pub(super) fn plan_operation(
        &self,
        by: &Claimant,
        operation: &Operation,
        purses: &mut Purses,
        before: &[HoldPlan],
    ) -> Result<Vec<HoldPlan>, Refusal> {
        let plans = match operation {
            Operation::Reserve { agent, resources, role, principal, labels, reclaim } => {
                let purse = purse(purses, *agent)?;
                check_role(&purse.role, role)?;
                check_principal(by, principal.as_ref())?;
                self.check_limits(role, resources, Some(&purse.role))?;
                let made = spend(purse, resources)?;
                let kind = HoldKind::Reservation { role: role.clone(), labels: labels.clone() };
                let id = HoldId::Reservation(ReservationId(self.next_number(before)));
                let plan = self.plan_made(by, *agent, (id, kind, *reclaim), resources, purse)?;
                vec![HoldPlan { on: rests_on(resources, &made, before), ..plan }]
            }
            Operation::CreateVolume { agent, resources, container_path, shared, reclaim } => {
                let purse = purse(purses, *agent)?;
                let made = spend(purse, resources)?;
                let container_path = container_path.clone();
                let kind = HoldKind::Volume { container_path, shared: *shared };
                let id = HoldId::Volume(VolumeId(self.next_number(before)));
                let plan = self.plan_made(by, *agent, (id, kind, *reclaim), resources, purse)?;
                vec![HoldPlan { on: rests_on(resources, &made, before), ..plan }]
            }
            Operation::Unreserve { agent, resources } => {
                spend(purse(purses, *agent)?, resources)?;
                self.plan_unreserve(by, *agent, resources, before)?
            }
            Operation::DestroyVolume { agent, resources } => {
                let purse = purse(purses, *agent)?;
                let volumes = self.named_volumes(*agent, resources, "resources", before)?;
                spend(purse, resources)?;
                let removal = |id| self.plan_removal_of(by, HoldId::Volume(id), resources);
                volumes.into_iter().map(removal).collect::<Result<_, _>>()?
            }
            Operation::GrowVolume { agent, volume, addition } => {
                let purse = purse(purses, *agent)?;
                let volumes = self.named_volumes(*agent, volume, "volume", before)?;
                spend(purse, volume)?;
                spend(purse, addition)?;
                let [id] = volumes.as_slice() else {
                    return Err(wrong("volume", "names not exactly one".to_owned()));
                };
                vec![self.plan_addition(by, *id, volume, addition)?]
            }
            Operation::Launch { .. } => Vec::new(),
        };
        if before.len() + plans.len() > limits::ACCEPT_HOLDS_MAX {
            let max = limits::ACCEPT_HOLDS_MAX;
            let message = format!("more than {max} reservations and volumes in one accept");
            return Err(Refusal::new(RefusalCode::BudgetExceeded, "", message));
        }
        Ok(plans)
    }

    fn next_number(&self, before: &[HoldPlan]) -> u64 {
        before.iter().map(|plan| plan.mark).fold(self.cluster.hold_mark, u64::max) + 1
    }

    fn plan_made(
        &self,
        by: &Claimant,
        agent: AgentId,
        (id, kind, reclaim): (HoldId, HoldKind, ReclaimPolicy),
        resources: &Resources,
        purse: &mut Purse,
    ) -> Result<HoldPlan, Refusal> {
        let (owner, framework) = (by.owner(), by.framework());
        let owner = owner.ok_or_else(|| wrong("principal", "is not known".to_owned()))?;
        let resources = resources.clone();
        let hold = Hold { id, op: 1, resources, kind, owner, framework, reclaim };
        let held = hold.held();
        let plan = self.plan_leased(agent, hold)?;
        let made = purse.made.checked_add(&held);
        purse.made = made.map_err(|error| wrong("resources", error.to_string()))?;
        Ok(plan)
    }

    /// Whole reservations that are together what is named.
    fn plan_unreserve(
        &self,
        by: &Claimant,
        agent: AgentId,
        resources: &Resources,
        before: &[HoldPlan],
    ) -> Result<Vec<HoldPlan>, Refusal> {
        let mut left = resources.clone();
        let mut plans = Vec::new();
        for id in self.holds.at(agent) {
            let entry = self.holds.get(id).filter(|entry| entry.writing.is_none());
            let applied = |intent| intent == HoldIntent::Applied;
            let record = entry.and_then(|entry| entry.durable.as_ref());
            let Some(record) = record.filter(|it| applied(it.intent)) else { continue };
            let is_free = !before.iter().any(|plan| plan.key.id == id);
            if matches!(id, HoldId::Reservation(_))
                && is_free
                && let Ok(rest) = left.checked_sub(&record.hold.held())
            {
                plans.push(self.plan_removal_of(by, id, resources)?);
                left = rest;
            }
        }
        if left.is_empty() && !plans.is_empty() {
            return Ok(plans);
        }
        let message = format!("{left} is no whole reservation of {agent}");
        Err(wrong("resources", message).hint("static reservations stay, and others go as a whole"))
    }

    /// Volumes that are named, each whole, and none that an earlier operation changes.
    fn named_volumes(
        &self,
        agent: AgentId,
        resources: &Resources,
        field: &str,
        before: &[HoldPlan],
    ) -> Result<Vec<VolumeId>, Refusal> {
        if let Some(entry) = self.agents.get(agent) {
            check_volumes(resources, &entry.total)
                .map_err(|error| wrong(field, error.to_string()))?;
        }
        let mut ids = Vec::new();
        for entry in resources.entries() {
            let Some(volume) = &entry.key.volume else {
                return Err(wrong(field, format!("{} is no volume", entry.key.name)));
            };
            if before.iter().any(|plan| plan.key.id == HoldId::Volume(volume.id)) {
                return Err(wrong(field, format!("{} is changed twice", volume.id)));
            }
            ids.push(volume.id);
        }
        if ids.is_empty() {
            return Err(wrong(field, "names no volume".to_owned()));
        }
        Ok(ids)
    }

    fn plan_addition(
        &self,
        by: &Claimant,
        id: VolumeId,
        volume: &Resources,
        addition: &Resources,
    ) -> Result<HoldPlan, Refusal> {
        let record = self.holds.get(HoldId::Volume(id)).and_then(|entry| entry.durable.as_ref());
        let base = record.map(|record| record.hold.resources.entries());
        let grown = match (base, addition.entries()) {
            (
                Some([Resource { key, quantity: Quantity::Scalar(now) }]),
                [Resource { key: added, quantity: Quantity::Scalar(more) }],
            ) if key == added => now.checked_add(*more),
            (_, _) => None,
        };
        let bytes = grown
            .ok_or_else(|| wrong("addition", format!("is not of the disk that {id} rests on")))?;
        let leased = volume.checked_add(addition);
        let leased = leased.map_err(|error| wrong("addition", error.to_string()))?;
        self.plan_growth_of(by, id, bytes, &leased)
    }
}

fn purse(purses: &mut Purses, agent: AgentId) -> Result<&mut Purse, Refusal> {
    let missing = || wrong("agent", format!("none of the offers is on {agent}"));
    purses.get_mut(&agent).ok_or_else(missing)
}

/// The holds of earlier operations that one rests on, if on nothing else.
fn rests_on(resources: &Resources, made: &Resources, before: &[HoldPlan]) -> Vec<HoldId> {
    if made != resources {
        return Vec::new();
    }
    let gives = |plan: &&HoldPlan| match &plan.writing {
        Writing::Put(record) => {
            let held = record.hold.held();
            let mut keys = held.entries().iter().map(|entry| &entry.key);
            keys.any(|key| resources.get(key).is_some())
        }
        Writing::Delete => false,
    };
    before.iter().filter(gives).map(|plan| plan.key.id).collect()
}

/// Takes it off what earlier operations make, and the rest off the leases; returns the former.
fn spend(purse: &mut Purse, resources: &Resources) -> Result<Resources, Refusal> {
    let made_left = without(&purse.made, resources);
    let lack = |error: ResourceError| lacking(purse, &error);
    let of_made = purse.made.checked_sub(&made_left).map_err(lack)?;
    let of_leases = resources.checked_sub(&of_made).map_err(lack)?;
    let left = purse.left.checked_sub(&of_leases).map_err(lack)?;
    let given_up = purse.given_up.checked_add(&of_leases).map_err(lack)?;
    (purse.made, purse.left, purse.given_up) = (made_left, left, given_up);
    Ok(of_made)
}

/// A framework reserves for the role that pays, or for one below it.
fn check_role(payer: &RoleName, role: &RoleName) -> Result<(), Refusal> {
    let rest = role.as_str().strip_prefix(payer.as_str());
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Ok(());
    }
    let message = format!("{role} is not {payer}, for which the offers are, nor below it");
    Err(Refusal::new(RefusalCode::PermissionDenied, "role", message))
}

fn check_principal(by: &Claimant, asked: Option<&PrincipalName>) -> Result<(), Refusal> {
    match (asked, by.owner()) {
        (None, _) => Ok(()),
        (Some(asked), Some(own)) if *asked == own => Ok(()),
        (Some(asked), _) => {
            let message = format!("{asked} is somebody else");
            Err(Refusal::new(RefusalCode::PermissionDenied, "principal", message))
        }
    }
}
