//! What a message weighs: an upper bound of its bytes on the wire that is cheap to compute, and in which
//! no part (a message, an entry of a map, a word of a list) weighs less than [`PART`]. Senders close a
//! frame by it, so that it stays below what readers take of bytes and of parts (K15).

use crate::agent::{AgentLaunch, AgentOrder};
use crate::attributes::{Attribute, Attributes};
use crate::claim::Claim;
use crate::hold::{Hold, HoldKind};
use crate::ids::TaskKey;
use crate::inverse_offer::{InverseOffer, VacateReason};
use crate::offer::Offer;
use crate::refusal::Refusal;
use crate::resources::{Quantity, Resource, Resources};
use crate::scheduler::{Event, TaskRecord};
use crate::state_store::{StateAnswer, StateEntry};
use crate::task::TaskStatus;
use crate::template::TaskLaunch;
use std::collections::BTreeMap;

/// The least that a part weighs: more than its tags and lengths take.
pub const PART: usize = 16;

/// A number with its tag.
const NUMBER: usize = 12;

/// A digest with its tag.
const DIGEST: usize = 48;

/// In the words of the wire.
pub trait Weight {
    /// Bytes on the wire, or more.
    fn weight(&self) -> usize;
}

fn text(text: &str) -> usize {
    PART + text.len()
}

fn map(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(key, value)| PART + text(key) + text(value)).sum()
}

fn list<T: Weight>(items: &[T]) -> usize {
    items.iter().map(Weight::weight).sum()
}

impl Weight for Resource {
    fn weight(&self) -> usize {
        let reservations: usize = self
            .key
            .reservations
            .iter()
            .map(|level| {
                let principal = level.principal.as_ref().map_or(0, |name| text(name.as_str()));
                2 * PART + text(level.role.as_str()) + principal + map(&level.labels)
            })
            .sum();
        let volume =
            self.key.volume.as_ref().map_or(0, |volume| {
                PART + text(&volume.id.to_string()) + text(&volume.container_path)
            });
        let quantity = match &self.quantity {
            Quantity::Scalar(_) => NUMBER,
            Quantity::Ranges(ranges) => PART + ranges.parts().len() * (PART + 2 * NUMBER),
            Quantity::Set(items) => PART + items.iter().map(|item| text(item)).sum::<usize>(),
        };
        2 * PART + text(self.key.name.as_str()) + reservations + volume + quantity
    }
}

impl Weight for Resources {
    fn weight(&self) -> usize {
        list(self.entries())
    }
}

fn attributes(attributes: &Attributes) -> usize {
    let value = |attribute: &Attribute| match attribute {
        Attribute::Text(value) => text(value),
        Attribute::Scalar(_) => NUMBER,
        Attribute::Ranges(ranges) => PART + ranges.parts().len() * (PART + 2 * NUMBER),
        Attribute::Set(items) => PART + items.iter().map(|item| text(item)).sum::<usize>(),
    };
    attributes.iter().map(|(name, attribute)| 2 * PART + text(name) + value(attribute)).sum()
}

impl Weight for TaskStatus {
    fn weight(&self) -> usize {
        /// Ids, token, state, reason, exit, time, isolation.
        const FIXED: usize = 18 * NUMBER + 4 * PART;
        FIXED + text(self.task.as_str()) + text(&self.message)
    }
}

impl Weight for TaskRecord {
    fn weight(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| text(group.as_str()));
        PART + DIGEST
            + self.status.weight()
            + self.resources.weight()
            + text(self.role.as_str())
            + map(&self.variables)
            + map(&self.labels)
            + group
            + text(self.agent_name.as_str())
            + text(&self.address)
            + self.gang.map_or(0, |gang| text(&gang.to_string()))
            + 2 * NUMBER
    }
}

impl Weight for Offer {
    fn weight(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| text(group.as_str()));
        2 * PART
            + 10 * NUMBER
            + PART
            + text(self.role.as_str())
            + text(self.agent_name.as_str())
            + text(&self.address)
            + self.resources.weight()
            + attributes(&self.attributes)
            + group
    }
}

impl Weight for InverseOffer {
    fn weight(&self) -> usize {
        let reason = match &self.reason {
            VacateReason::Drain => PART,
            VacateReason::Maintenance { message, .. } => PART + 2 * NUMBER + text(message),
            VacateReason::Preemption { group, role, .. } => {
                PART + NUMBER + text(group.as_str()) + text(role.as_str())
            }
        };
        let tasks: usize = self.tasks.iter().map(|task| text(task.as_str())).sum();
        3 * PART + 4 * NUMBER + text(self.agent_name.as_str()) + tasks + reason
    }
}

impl Weight for StateEntry {
    fn weight(&self) -> usize {
        2 * PART + NUMBER + text(&self.key) + self.value.len()
    }
}

impl Weight for Refusal {
    fn weight(&self) -> usize {
        3 * PART + text(&self.field) + text(&self.message) + text(&self.hint)
    }
}

impl Weight for Event {
    fn weight(&self) -> usize {
        /// Tags of the event and of its kind, and the numbers of the smaller kinds.
        const FIXED: usize = 2 * PART + 6 * NUMBER;
        FIXED
            + match self {
                Self::Subscribed { .. }
                | Self::AgentResolved { .. }
                | Self::TornDown
                | Self::Heartbeat => 2 * PART,
                Self::Standby { active: replica } | Self::Superseded { by: replica } => {
                    text(replica.as_str())
                }
                Self::SnapshotPage { tasks } => list(tasks),
                Self::SnapshotAbsent { absent } | Self::SnapshotEnd { absent, .. } => {
                    PART + absent.len() * (3 * PART + 2 * NUMBER)
                }
                Self::Offers { offers } => list(offers),
                Self::Rescinded { offers, reason } => {
                    text(reason) + offers.len() * (PART + 2 * NUMBER)
                }
                Self::DemandExpired { groups } => {
                    let names = groups.iter().map(|group| text(group.name.as_str()));
                    names.sum::<usize>() + groups.len() * (PART + 2 * NUMBER)
                }
                Self::Accepted { refusal, holds, .. } => {
                    let ids: usize = holds.iter().map(|id| text(&id.to_string())).sum();
                    ids + refusal.as_ref().map_or(0, Weight::weight)
                }
                Self::Hold(news) => PART + NUMBER + text(&news.message) + news.hold.weight(),
                Self::InverseOffers { offers } => list(offers),
                Self::InverseOffersRescinded { offers, reason } => {
                    text(reason) + offers.len() * (PART + 2 * NUMBER)
                }
                Self::Status(status) => status.weight(),
                Self::Task(record) => record.weight(),
                Self::State { answer, .. } => {
                    PART + match answer {
                        StateAnswer::Page { entries, .. } => list(entries),
                        StateAnswer::Committed { versions } => versions.len() * NUMBER,
                        StateAnswer::Refused(refusal) => refusal.weight(),
                    }
                }
                Self::Refused { call, refusal } => text(call) + refusal.weight(),
            }
    }
}

impl Weight for TaskLaunch {
    fn weight(&self) -> usize {
        let group = self.group.as_ref().map_or(0, |group| text(group.as_str()));
        2 * PART
            + 4 * NUMBER
            + DIGEST
            + text(self.name.as_str())
            + self.resources.weight()
            + map(&self.variables)
            + map(&self.labels)
            + group
    }
}

impl Weight for Hold {
    fn weight(&self) -> usize {
        let kind = match &self.kind {
            HoldKind::Reservation { role, labels } => text(role.as_str()) + map(labels),
            HoldKind::Volume { container_path, .. } => text(container_path) + NUMBER,
        };
        4 * PART
            + 3 * NUMBER
            + text(&self.id.to_string())
            + self.resources.weight()
            + text(self.owner.as_str())
            + kind
    }
}

impl Weight for AgentLaunch {
    fn weight(&self) -> usize {
        PART + NUMBER + text(self.role.as_str()) + self.launch.weight()
    }
}

impl Weight for AgentOrder {
    fn weight(&self) -> usize {
        /// Tags of the order and of its kind, and the numbers of the smaller kinds.
        const FIXED: usize = 2 * PART + 6 * NUMBER;
        /// A word of a list takes three bytes of JSON and weighs a [`PART`].
        const JSON_FACTOR: usize = PART.div_ceil(3);
        FIXED
            + match self {
                Self::Registered { capability_key, .. } => PART + capability_key.len(),
                Self::Refused { refusal, .. } => refusal.weight(),
                Self::Grant { .. } | Self::EndFramework { .. } => 0,
                Self::Template { template, .. } => {
                    let json = serde_json::to_vec(template).map_or(usize::MAX, |json| json.len());
                    DIGEST + json.saturating_mul(JSON_FACTOR)
                }
                Self::Launch { tasks } => list(tasks),
                Self::Kill { task, .. } => 2 * PART + 4 * NUMBER + text(task.as_str()),
                Self::Acknowledge { except, .. } => except.len() * NUMBER,
                Self::ApplyHold { hold } => hold.weight(),
                Self::RemoveHold { id, .. } => text(&id.to_string()),
                Self::Preempt { claim, tasks, .. } => {
                    let task = |key: &TaskKey| PART + NUMBER + text(key.name.as_str());
                    claim.weight() + tasks.iter().map(task).sum::<usize>()
                }
                Self::DropClaim { claim } => text(&claim.to_string()),
                Self::Prepare { gang, tasks } => text(&gang.to_string()) + list(tasks),
                Self::StartGang { gang } => text(&gang.to_string()),
                Self::AbortGang { gang, why } => text(&gang.to_string()) + text(why),
            }
    }
}

impl Weight for Claim {
    fn weight(&self) -> usize {
        PART + 2 * NUMBER
            + text(&self.id.to_string())
            + text(self.group.as_str())
            + text(self.role.as_str())
            + self.resources.weight()
            + self.creditor.as_ref().map_or(0, |role| text(role.as_str()))
    }
}
