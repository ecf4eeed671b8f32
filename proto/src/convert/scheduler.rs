//! scheduler.proto: frames, calls, offers and events between a framework and the master.

use super::bounds::{CALLS_MAX, ENTRIES_MAX, EXCEPTIONS_MAX, ITEMS_MAX, OPERATIONS_MAX};
use super::field::{
    bounded, from_ref, invalid, item, known, labels, list, name, names, numbers, optional_name,
    part, required,
};
use super::hold::reclaim_from_text;
use super::offer_condition::{conditions_from_pb, conditions_to_pb};
use super::resources::{
    attributes_from_pb, attributes_to_pb, check_patterns, resources_from_pb, resources_to_pb,
};
use super::types::digest_from_pb;
use crate::pb;
use proffer_types::demand::{Budget, DemandGroup, ExpiredGroup};
use proffer_types::maintenance::Unavailability;
use proffer_types::offer::{Accept, Offer, Operation};
use proffer_types::scheduler::{Absence, AbsentAgent, Call, Event, SchedulerDown, SchedulerUp};
use proffer_types::state_store::StateAnswer;
use proffer_types::template::KillPolicy;
use proffer_types::{
    AgentId, AgentVersion, DurationMs, FrameworkEpoch, FrameworkId, Generation, Incarnation,
    InverseOfferId, LogIncarnation, MasterEpoch, OfferId, Refusal, RefusalCode, WallTime,
};

impl From<SchedulerUp> for pb::SchedulerUp {
    fn from(frame: SchedulerUp) -> Self {
        Self { epoch: frame.epoch.0, calls: frame.calls.into_iter().map(pb::Call::from).collect() }
    }
}

impl TryFrom<pb::SchedulerUp> for SchedulerUp {
    type Error = Refusal;
    fn try_from(frame: pb::SchedulerUp) -> Result<Self, Refusal> {
        Ok(Self {
            epoch: FrameworkEpoch(frame.epoch),
            calls: list(frame.calls, "calls", CALLS_MAX)?,
        })
    }
}

/// A call that could not be read. The others of its frame can: the master answers this one and
/// goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedCall {
    /// Which kind of call: `accept`, `kill`, ….
    pub call: &'static str,
    /// The number by which its sender knows it, where the kind has one.
    pub number: Option<u64>,
    /// Why; the field begins with `calls[index]`.
    pub refusal: Refusal,
}

impl RefusedCall {
    /// The event that answers it.
    #[must_use]
    pub fn answer(self) -> Event {
        match (self.call, self.number) {
            ("accept", Some(accept)) => {
                Event::Accepted { accept, refusal: Some(self.refusal), holds: Vec::new() }
            }
            ("state", Some(request)) => {
                Event::State { request, answer: StateAnswer::Refused(self.refusal) }
            }
            (call, _) => Event::Refused { call: call.to_owned(), refusal: self.refusal },
        }
    }
}

/// Reads a frame call by call, so that one bad call does not take the others with it.
///
/// # Errors
/// A refusal of the frame as a whole: too many calls.
pub fn calls_from_pb(
    frame: pb::SchedulerUp,
) -> Result<(FrameworkEpoch, Vec<Result<Call, RefusedCall>>), Refusal> {
    bounded(frame.calls.len(), "calls", CALLS_MAX)?;
    let read = |(index, call): (usize, pb::Call)| {
        let (kind, number) = (call_name(&call), call_number(&call));
        Call::try_from(call).map_err(|refusal| RefusedCall {
            call: kind,
            number,
            refusal: refusal.within(item("calls", index)),
        })
    };
    let calls = frame.calls.into_iter().enumerate().map(read).collect();
    Ok((FrameworkEpoch(frame.epoch), calls))
}

/// The kind of a call as it stands in `Event::Refused`; `unknown` for one of a later version.
#[must_use]
pub fn call_name(call: &pb::Call) -> &'static str {
    use pb::call::Kind;
    match &call.kind {
        Some(Kind::Subscribe(_)) => "subscribe",
        Some(Kind::Demand(_)) => "demand",
        Some(Kind::Template(_)) => "template",
        Some(Kind::Accept(_)) => "accept",
        Some(Kind::Decline(_)) => "decline",
        Some(Kind::Renew(_)) => "renew",
        Some(Kind::Suppress(_)) => "suppress",
        Some(Kind::Revive(_)) => "revive",
        Some(Kind::Kill(_)) => "kill",
        Some(Kind::Acknowledge(_)) => "acknowledge",
        Some(Kind::AcceptInverseOffers(_)) => "accept_inverse_offers",
        Some(Kind::DeclineInverseOffers(_)) => "decline_inverse_offers",
        Some(Kind::OfferConditions(_)) => "offer_conditions",
        Some(Kind::Budgets(_)) => "budgets",
        Some(Kind::Snapshot(_)) => "snapshot",
        Some(Kind::State(_)) => "state",
        Some(Kind::Teardown(_)) => "teardown",
        Some(Kind::Heartbeat(_)) => "heartbeat",
        None => "unknown",
    }
}

fn call_number(call: &pb::Call) -> Option<u64> {
    match &call.kind {
        Some(pb::call::Kind::Accept(accept)) => Some(accept.accept),
        Some(pb::call::Kind::State(state)) => Some(state.request),
        Some(_) | None => None,
    }
}

impl From<Call> for pb::Call {
    fn from(call: Call) -> Self {
        use pb::call::{self, Kind};
        let ids = |offers: Vec<OfferId>| offers.into_iter().map(pb::OfferId::from).collect();
        let inverse = |offers: Vec<InverseOfferId>| {
            offers.into_iter().map(pb::InverseOfferId::from).collect()
        };
        let kind = match call {
            Call::Subscribe { info, replica, take_over, conditions } => {
                Kind::Subscribe(call::Subscribe {
                    info: Some(info.into()),
                    replica: replica.into(),
                    take_over,
                    conditions: conditions_to_pb(conditions),
                })
            }
            Call::OfferConditions { conditions } => {
                let conditions = conditions_to_pb(conditions);
                Kind::OfferConditions(call::OfferConditions { conditions })
            }
            Call::Budgets { budgets } => Kind::Budgets(call::Budgets {
                budgets: budgets.into_iter().map(pb::Budget::from).collect(),
            }),
            Call::Demand { groups } => Kind::Demand(call::Demand {
                groups: groups.into_iter().map(pb::DemandGroup::from).collect(),
            }),
            Call::Template { digest, template } => Kind::Template(call::Template {
                digest: digest.0.to_vec(),
                template: Some(template.into()),
            }),
            Call::Accept(accept) => Kind::Accept(accept.into()),
            Call::Decline { offers, refuse_for } => {
                Kind::Decline(call::Decline { offers: ids(offers), refuse_for_ms: refuse_for.0 })
            }
            Call::Renew { offers } => Kind::Renew(call::Renew { offers: ids(offers) }),
            Call::Suppress { roles } => Kind::Suppress(call::Suppress {
                roles: roles.into_iter().map(String::from).collect(),
            }),
            Call::Revive { roles } => {
                Kind::Revive(call::Revive { roles: roles.into_iter().map(String::from).collect() })
            }
            Call::Kill { task, policy } => Kind::Kill(call::Kill {
                task: task.into(),
                policy: policy.map(pb::KillPolicy::from),
            }),
            Call::Acknowledge { agent, incarnation, through, except } => {
                Kind::Acknowledge(call::Acknowledge {
                    agent: agent.0,
                    incarnation: incarnation.0,
                    through,
                    except: except.into_iter().collect(),
                })
            }
            Call::AcceptInverseOffers { offers } => {
                Kind::AcceptInverseOffers(call::AcceptInverseOffers { offers: inverse(offers) })
            }
            Call::DeclineInverseOffers { offers, reason } => {
                let offers = inverse(offers);
                Kind::DeclineInverseOffers(call::DeclineInverseOffers { offers, reason })
            }
            Call::Snapshot => Kind::Snapshot(call::Snapshot {}),
            Call::State { request, call } => {
                Kind::State(call::State { request, call: Some(call.into()) })
            }
            Call::Teardown => Kind::Teardown(call::Teardown {}),
            Call::Heartbeat => Kind::Heartbeat(call::Heartbeat {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Call> for Call {
    type Error = Refusal;
    fn try_from(call: pb::Call) -> Result<Self, Refusal> {
        let kind_name = call_name(&call);
        let Some(kind) = call.kind else {
            return Err(Refusal::new(
                RefusalCode::NotSupported,
                "",
                "is of a kind that this master does not know",
            ));
        };
        call_from_kind(kind).map_err(|refusal| refusal.within(kind_name))
    }
}

fn call_from_kind(kind: pb::call::Kind) -> Result<Call, Refusal> {
    use pb::call::Kind;
    Ok(match kind {
        Kind::Subscribe(call) => Call::Subscribe {
            info: part(call.info, "info")?,
            replica: name(&call.replica, "replica")?,
            take_over: call.take_over,
            conditions: conditions_from_pb(call.conditions)?,
        },
        Kind::OfferConditions(call) => {
            Call::OfferConditions { conditions: conditions_from_pb(call.conditions)? }
        }
        Kind::Demand(call) => {
            check_patterns(call.groups.iter().flat_map(|group| &group.constraints), "groups")?;
            Call::Demand { groups: list(call.groups, "groups", DemandGroup::GROUPS_MAX)? }
        }
        Kind::Budgets(call) => {
            Call::Budgets { budgets: list(call.budgets, "budgets", Budget::BUDGETS_MAX)? }
        }
        Kind::Template(call) => Call::Template {
            digest: digest_from_pb(&call.digest, "digest")?,
            template: part(call.template, "template")?,
        },
        Kind::Accept(call) => Call::Accept(call.try_into()?),
        Kind::Decline(call) => Call::Decline {
            offers: offer_ids(call.offers)?,
            refuse_for: DurationMs(call.refuse_for_ms),
        },
        Kind::Renew(call) => Call::Renew { offers: offer_ids(call.offers)? },
        Kind::Suppress(call) => Call::Suppress { roles: names(&call.roles, "roles", ENTRIES_MAX)? },
        Kind::Revive(call) => Call::Revive { roles: names(&call.roles, "roles", ENTRIES_MAX)? },
        Kind::Kill(call) => Call::Kill {
            task: name(&call.task, "task")?,
            policy: call.policy.map(KillPolicy::from),
        },
        Kind::Acknowledge(call) => Call::Acknowledge {
            agent: AgentId(call.agent),
            incarnation: LogIncarnation(call.incarnation),
            through: call.through,
            except: numbers(call.except, "except", EXCEPTIONS_MAX)?,
        },
        Kind::AcceptInverseOffers(call) => {
            Call::AcceptInverseOffers { offers: inverse_offer_ids(call.offers)? }
        }
        Kind::DeclineInverseOffers(call) => Call::DeclineInverseOffers {
            offers: inverse_offer_ids(call.offers)?,
            reason: call.reason,
        },
        Kind::Snapshot(_) => Call::Snapshot,
        Kind::State(call) => Call::State { request: call.request, call: part(call.call, "call")? },
        Kind::Teardown(_) => Call::Teardown,
        Kind::Heartbeat(_) => Call::Heartbeat,
    })
}

fn offer_ids(ids: Vec<pb::OfferId>) -> Result<Vec<OfferId>, Refusal> {
    bounded(ids.len(), "offers", ITEMS_MAX)?;
    Ok(ids.into_iter().map(OfferId::from).collect())
}

fn inverse_offer_ids(ids: Vec<pb::InverseOfferId>) -> Result<Vec<InverseOfferId>, Refusal> {
    bounded(ids.len(), "offers", ITEMS_MAX)?;
    Ok(ids.into_iter().map(InverseOfferId::from).collect())
}

impl From<Accept> for pb::Accept {
    fn from(accept: Accept) -> Self {
        let offer = |(id, version): (OfferId, AgentVersion)| pb::AcceptedOffer {
            id: Some(id.into()),
            agent_version: version.0,
        };
        Self {
            accept: accept.accept,
            offers: accept.offers.into_iter().map(offer).collect(),
            operations: accept.operations.into_iter().map(pb::Operation::from).collect(),
            refuse_for_ms: accept.refuse_for.0,
        }
    }
}

impl TryFrom<pb::Accept> for Accept {
    type Error = Refusal;
    fn try_from(accept: pb::Accept) -> Result<Self, Refusal> {
        bounded(accept.offers.len(), "offers", ITEMS_MAX)?;
        let mut offers = Vec::with_capacity(accept.offers.len());
        for (index, offer) in accept.offers.into_iter().enumerate() {
            let id = required(offer.id, "id").map_err(|r| r.within(item("offers", index)))?;
            offers.push((id.into(), AgentVersion(offer.agent_version)));
        }
        Ok(Self {
            accept: accept.accept,
            offers,
            operations: list(accept.operations, "operations", OPERATIONS_MAX)?,
            refuse_for: DurationMs(accept.refuse_for_ms),
        })
    }
}

impl From<Operation> for pb::Operation {
    fn from(operation: Operation) -> Self {
        use pb::operation::{self, Kind};
        let kind = match operation {
            Operation::Launch { agent, tasks } => Kind::Launch(operation::Launch {
                agent: agent.0,
                tasks: tasks.into_iter().map(pb::TaskLaunch::from).collect(),
            }),
            Operation::Reserve { agent, resources, role, principal, labels, reclaim } => {
                Kind::Reserve(operation::Reserve {
                    agent: agent.0,
                    resources: resources_to_pb(resources),
                    role: role.into(),
                    principal: principal.map(String::from),
                    labels,
                    reclaim: reclaim.as_str().to_owned(),
                })
            }
            Operation::Unreserve { agent, resources } => Kind::Unreserve(operation::Unreserve {
                agent: agent.0,
                resources: resources_to_pb(resources),
            }),
            Operation::CreateVolume { agent, resources, container_path, shared, reclaim } => {
                Kind::CreateVolume(operation::CreateVolume {
                    agent: agent.0,
                    resources: resources_to_pb(resources),
                    volume: Some(pb::Volume { id: String::new(), container_path }),
                    shared,
                    reclaim: reclaim.as_str().to_owned(),
                })
            }
            Operation::GrowVolume { agent, volume, addition } => {
                Kind::GrowVolume(operation::GrowVolume {
                    agent: agent.0,
                    volume: resources_to_pb(volume),
                    addition: resources_to_pb(addition),
                })
            }
            Operation::DestroyVolume { agent, resources } => {
                Kind::DestroyVolume(operation::DestroyVolume {
                    agent: agent.0,
                    resources: resources_to_pb(resources),
                })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Operation> for Operation {
    type Error = Refusal;

    /// An unknown kind is refused: an accept is all or nothing.
    fn try_from(operation: pb::Operation) -> Result<Self, Refusal> {
        use pb::operation::Kind;
        let (kind, read) = match operation.kind {
            Some(Kind::Launch(launch)) => (
                "launch",
                list(launch.tasks, "tasks", ITEMS_MAX)
                    .map(|tasks| Self::Launch { agent: AgentId(launch.agent), tasks }),
            ),
            Some(Kind::Reserve(reserve)) => ("reserve", reserve_from_pb(reserve)),
            Some(Kind::Unreserve(part)) => (
                "unreserve",
                resources_from_pb(part.resources, "resources")
                    .map(|resources| Self::Unreserve { agent: AgentId(part.agent), resources }),
            ),
            Some(Kind::CreateVolume(part)) => ("create_volume", create_volume_from_pb(part)),
            Some(Kind::GrowVolume(part)) => ("grow_volume", grow_volume_from_pb(part)),
            Some(Kind::DestroyVolume(part)) => (
                "destroy_volume",
                resources_from_pb(part.resources, "resources")
                    .map(|resources| Self::DestroyVolume { agent: AgentId(part.agent), resources }),
            ),
            None => {
                return Err(Refusal::new(
                    RefusalCode::NotSupported,
                    "",
                    "is of a kind that this master does not know",
                ));
            }
        };
        read.map_err(|refusal| refusal.within(kind))
    }
}

fn reserve_from_pb(reserve: pb::operation::Reserve) -> Result<Operation, Refusal> {
    Ok(Operation::Reserve {
        agent: AgentId(reserve.agent),
        resources: resources_from_pb(reserve.resources, "resources")?,
        role: name(&reserve.role, "role")?,
        principal: optional_name(reserve.principal.as_deref(), "principal")?,
        labels: labels(reserve.labels, "labels")?,
        reclaim: reclaim_from_text(&reserve.reclaim)?,
    })
}

fn create_volume_from_pb(create: pb::operation::CreateVolume) -> Result<Operation, Refusal> {
    Ok(Operation::CreateVolume {
        agent: AgentId(create.agent),
        resources: resources_from_pb(create.resources, "resources")?,
        container_path: required(create.volume, "volume")?.container_path,
        shared: create.shared,
        reclaim: reclaim_from_text(&create.reclaim)?,
    })
}

fn grow_volume_from_pb(grow: pb::operation::GrowVolume) -> Result<Operation, Refusal> {
    Ok(Operation::GrowVolume {
        agent: AgentId(grow.agent),
        volume: resources_from_pb(grow.volume, "volume")?,
        addition: resources_from_pb(grow.addition, "addition")?,
    })
}

impl From<Offer> for pb::Offer {
    fn from(offer: Offer) -> Self {
        Self {
            id: Some(offer.id.into()),
            framework: offer.framework.0,
            role: offer.role.into(),
            agent: offer.agent.0,
            agent_name: offer.agent_name.into(),
            address: offer.address,
            agent_version: offer.agent_version.0,
            resources: resources_to_pb(offer.resources),
            attributes: attributes_to_pb(offer.attributes),
            group: offer.group.map(String::from),
            count: offer.count,
            expires_in_ms: offer.expires_in.0,
            unavailability: offer.unavailability.map(pb::Unavailability::from),
        }
    }
}

impl TryFrom<pb::Offer> for Offer {
    type Error = Refusal;
    fn try_from(offer: pb::Offer) -> Result<Self, Refusal> {
        Ok(Self {
            id: required(offer.id, "id")?.into(),
            framework: FrameworkId(offer.framework),
            role: name(&offer.role, "role")?,
            agent: AgentId(offer.agent),
            agent_name: name(&offer.agent_name, "agent_name")?,
            address: offer.address,
            agent_version: AgentVersion(offer.agent_version),
            resources: resources_from_pb(offer.resources, "resources")?,
            attributes: attributes_from_pb(offer.attributes, "attributes")?,
            group: optional_name(offer.group.as_deref(), "group")?,
            count: offer.count,
            expires_in: DurationMs(offer.expires_in_ms),
            unavailability: offer.unavailability.map(Unavailability::from),
        })
    }
}

impl From<Absence> for pb::Absence {
    fn from(absence: Absence) -> Self {
        use pb::absence::Kind;
        Self {
            kind: Some(match absence {
                Absence::Awaited => Kind::Awaited(pb::Unit {}),
                Absence::UnreachableSince(since) => Kind::UnreachableSinceMs(since.0),
                Absence::Gone => Kind::Gone(pb::Unit {}),
            }),
        }
    }
}

impl From<pb::Absence> for Absence {
    /// An unknown kind counts as awaited: nothing is concluded from it (K2, K5).
    fn from(absence: pb::Absence) -> Self {
        use pb::absence::Kind;
        match absence.kind {
            Some(Kind::UnreachableSinceMs(since)) => Self::UnreachableSince(WallTime(since)),
            Some(Kind::Gone(_)) => Self::Gone,
            Some(Kind::Awaited(_)) | None => Self::Awaited,
        }
    }
}

impl From<AbsentAgent> for pb::AbsentAgent {
    fn from(absent: AbsentAgent) -> Self {
        Self { agent: absent.agent.0, absence: Some(absent.absence.into()) }
    }
}

impl From<pb::AbsentAgent> for AbsentAgent {
    fn from(absent: pb::AbsentAgent) -> Self {
        Self {
            agent: AgentId(absent.agent),
            absence: absent.absence.map_or(Absence::Awaited, Absence::from),
        }
    }
}

impl From<SchedulerDown> for pb::SchedulerDown {
    fn from(frame: SchedulerDown) -> Self {
        Self {
            master_epoch: frame.master_epoch.0,
            epoch: frame.epoch.0,
            events: frame.events.into_iter().map(pb::Event::from).collect(),
        }
    }
}

impl TryFrom<pb::SchedulerDown> for SchedulerDown {
    type Error = Refusal;

    /// Events of an unknown kind are skipped (K5).
    fn try_from(frame: pb::SchedulerDown) -> Result<Self, Refusal> {
        let events = known(frame.events, "events", |event| event.kind, event_from_kind)?;
        Ok(Self {
            master_epoch: MasterEpoch(frame.master_epoch),
            epoch: FrameworkEpoch(frame.epoch),
            events,
        })
    }
}

impl From<Event> for pb::Event {
    fn from(event: Event) -> Self {
        use pb::event::{self, Kind};
        let kind = match event {
            Event::Subscribed {
                framework,
                epoch,
                incarnation,
                heartbeat,
                offer_ttl,
                capability_key,
            } => Kind::Subscribed(event::Subscribed {
                framework: framework.0,
                epoch: epoch.0,
                incarnation: incarnation.0,
                heartbeat_ms: heartbeat.0,
                offer_ttl_ms: offer_ttl.0,
                capability_key,
            }),
            Event::Standby { active } => Kind::Standby(event::Standby { active: active.into() }),
            Event::SnapshotPage { tasks } => Kind::SnapshotPage(event::SnapshotPage {
                tasks: tasks.into_iter().map(pb::TaskRecord::from).collect(),
            }),
            Event::SnapshotAbsent { absent } => Kind::SnapshotAbsent(event::SnapshotAbsent {
                absent: absent.into_iter().map(pb::AbsentAgent::from).collect(),
            }),
            Event::SnapshotEnd { cursor, absent } => Kind::SnapshotEnd(event::SnapshotEnd {
                cursor: Some(cursor.into()),
                absent: absent.into_iter().map(pb::AbsentAgent::from).collect(),
            }),
            Event::AgentResolved { agent, absence } => Kind::AgentResolved(event::AgentResolved {
                agent: agent.0,
                absence: absence.map(pb::Absence::from),
            }),
            Event::Offers { offers } => Kind::Offers(event::Offers {
                offers: offers.into_iter().map(pb::Offer::from).collect(),
            }),
            Event::Rescinded { offers, reason } => Kind::Rescinded(event::Rescinded {
                offers: offers.into_iter().map(pb::OfferId::from).collect(),
                reason,
            }),
            Event::DemandExpired { groups } => {
                let group = |group: ExpiredGroup| event::ExpiredGroup {
                    name: group.name.into(),
                    generation: group.generation.0,
                    unmet: group.unmet,
                };
                let groups = groups.into_iter().map(group).collect();
                Kind::DemandExpired(event::DemandExpired { groups })
            }
            Event::Hold(news) => Kind::Hold(news.into()),
            Event::Accepted { accept, refusal, holds } => Kind::Accepted(event::Accepted {
                accept,
                refusal: refusal.map(pb::Refusal::from),
                holds: holds.iter().map(ToString::to_string).collect(),
            }),
            Event::InverseOffers { offers } => Kind::InverseOffers(event::InverseOffers {
                offers: offers.into_iter().map(pb::InverseOffer::from).collect(),
            }),
            Event::InverseOffersRescinded { offers, reason } => {
                Kind::InverseOffersRescinded(event::InverseOffersRescinded {
                    offers: offers.into_iter().map(pb::InverseOfferId::from).collect(),
                    reason,
                })
            }
            Event::Status(status) => Kind::Status(status.into()),
            Event::Task(record) => Kind::Task((*record).into()),
            Event::State { request, answer } => {
                Kind::State(event::State { request, answer: Some(answer.into()) })
            }
            Event::Refused { call, refusal } => {
                Kind::Refused(event::Refused { call, refusal: Some(refusal.into()) })
            }
            Event::Superseded { by } => Kind::Superseded(event::Superseded { by: by.into() }),
            Event::TornDown => Kind::TornDown(event::TornDown {}),
            Event::Heartbeat => Kind::Heartbeat(event::Heartbeat {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::event::ExpiredGroup> for ExpiredGroup {
    type Error = Refusal;
    fn try_from(group: pb::event::ExpiredGroup) -> Result<Self, Refusal> {
        Ok(Self {
            name: name(&group.name, "name")?,
            generation: Generation(group.generation),
            unmet: group.unmet,
        })
    }
}

fn event_from_kind(kind: pb::event::Kind) -> Result<Event, Refusal> {
    use pb::event::Kind;
    let below = |field: &'static str| move |refusal: Refusal| refusal.within(field);
    Ok(match kind {
        Kind::Subscribed(event) => Event::Subscribed {
            framework: FrameworkId(event.framework),
            epoch: FrameworkEpoch(event.epoch),
            incarnation: Incarnation(event.incarnation),
            heartbeat: DurationMs(event.heartbeat_ms),
            offer_ttl: DurationMs(event.offer_ttl_ms),
            capability_key: event.capability_key,
        },
        Kind::Standby(event) => Event::Standby { active: name(&event.active, "standby.active")? },
        Kind::SnapshotPage(event) => Event::SnapshotPage {
            tasks: list(event.tasks, "tasks", ITEMS_MAX).map_err(below("snapshot_page"))?,
        },
        Kind::SnapshotAbsent(event) => Event::SnapshotAbsent {
            absent: event.absent.into_iter().map(AbsentAgent::from).collect(),
        },
        Kind::SnapshotEnd(event) => Event::SnapshotEnd {
            cursor: required(event.cursor, "snapshot_end.cursor")?.into(),
            absent: event.absent.into_iter().map(AbsentAgent::from).collect(),
        },
        Kind::AgentResolved(event) => Event::AgentResolved {
            agent: AgentId(event.agent),
            absence: event.absence.map(Absence::from),
        },
        Kind::Offers(event) => Event::Offers {
            offers: list(event.offers, "offers", ITEMS_MAX).map_err(below("offers"))?,
        },
        Kind::Rescinded(event) => Event::Rescinded {
            offers: offer_ids(event.offers).map_err(below("rescinded"))?,
            reason: event.reason,
        },
        Kind::DemandExpired(event) => {
            let groups = list(event.groups, "groups", DemandGroup::GROUPS_MAX);
            Event::DemandExpired { groups: groups.map_err(below("demand_expired"))? }
        }
        Kind::Hold(news) => Event::Hold(news.try_into().map_err(|r: Refusal| r.within("hold"))?),
        Kind::Accepted(event) => Event::Accepted {
            accept: event.accept,
            refusal: event.refusal.map(Refusal::from),
            holds: names(&event.holds, "accepted.holds", OPERATIONS_MAX * 16)?,
        },
        Kind::InverseOffers(event) => Event::InverseOffers {
            offers: list(event.offers, "offers", ITEMS_MAX).map_err(below("inverse_offers"))?,
        },
        Kind::InverseOffersRescinded(event) => Event::InverseOffersRescinded {
            offers: inverse_offer_ids(event.offers).map_err(below("inverse_offers_rescinded"))?,
            reason: event.reason,
        },
        Kind::Status(status) => Event::Status(status.try_into().map_err(below("status"))?),
        Kind::Task(record) => Event::Task(Box::new(record.try_into().map_err(below("task"))?)),
        Kind::State(event) => Event::State {
            request: event.request,
            answer: part(event.answer, "answer").map_err(below("state"))?,
        },
        Kind::Refused(event) => Event::Refused {
            call: event.call,
            refusal: required(event.refusal, "refused.refusal")?.into(),
        },
        Kind::Superseded(event) => Event::Superseded { by: name(&event.by, "superseded.by")? },
        Kind::TornDown(_) => Event::TornDown,
        Kind::Heartbeat(_) => Event::Heartbeat,
    })
}

impl TryFrom<pb::Event> for Event {
    type Error = Refusal;

    /// A frame skips events of an unknown kind; one alone cannot be shown.
    fn try_from(event: pb::Event) -> Result<Self, Refusal> {
        match event.kind {
            Some(kind) => event_from_kind(kind),
            None => Err(invalid("kind", "is not set or not known to this version")),
        }
    }
}

from_ref! {
    SchedulerUp => pb::SchedulerUp,
    SchedulerDown => pb::SchedulerDown,
    Call => pb::Call,
    Event => pb::Event,
    Offer => pb::Offer,
}
