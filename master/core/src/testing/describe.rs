//! Effects in a line each, for scripts that people read.

use crate::effect::Effect;
use crate::registry::RegistryChange;
use proffer_types::agent::{AgentDown, AgentLaunch, AgentOrder, KillCause};
use proffer_types::inverse_offer::{InverseOffer, VacateReason};
use proffer_types::operator::OperatorAnswer;
use proffer_types::scheduler::{Absence, AbsentAgent, Event, TaskRecord};
use proffer_types::state_store::StateAnswer;
use proffer_types::task::{StatusReason, TaskStatus};
use proffer_types::{Refusal, Resources};

/// One line an effect, several for a frame; nothing for what scripts do not show (publications,
/// heartbeats).
#[must_use]
pub fn describe(effect: &Effect) -> Vec<String> {
    match effect {
        Effect::Persist { changes, .. } => {
            vec![format!("write {}", changes.iter().map(change).collect::<Vec<_>>().join(", "))]
        }
        Effect::ReadState { framework, list, .. } => {
            vec![format!("read {framework} {:?}", list.prefix)]
        }
        Effect::SendAgent { frame, .. } => orders(frame),
        Effect::SendFramework { connection, frame } => frame
            .events
            .iter()
            .filter(|event| !matches!(event, Event::Heartbeat))
            .map(|event| format!("-> c{}@{}: {}", connection.0, frame.epoch, self::event(event)))
            .collect(),
        Effect::Reply { answer, .. } => vec![match answer {
            OperatorAnswer::Done { message } => format!("reply: {message}"),
            OperatorAnswer::Refused(why) => format!("reply: refused {}", refusal(why)),
            OperatorAnswer::Explained(explanation) => format!("reply: {}", explanation.summary),
        }],
        Effect::Close { connection, refusal: why } => {
            vec![format!("close c{}: {}", connection.0, refusal(why))]
        }
        Effect::Publish { .. } => Vec::new(),
        Effect::Stop { reason } => vec![format!("stop: {reason}")],
    }
}

fn change(change: &RegistryChange) -> String {
    let key = change.key.encode();
    let key = key
        .split('/')
        .map(|part| match part.trim_start_matches('0') {
            "" => "0",
            digits if part.len() == 20 => digits,
            _ => part,
        })
        .collect::<Vec<_>>()
        .join("/");
    if change.record.is_some() { key } else { format!("-{key}") }
}

fn refusal(refusal: &Refusal) -> String {
    format!("{} {:?}", refusal.code.as_str(), refusal.field)
}

fn orders(frame: &AgentDown) -> Vec<String> {
    frame
        .orders
        .iter()
        .filter(|order| !matches!(order, AgentOrder::Grant { .. }))
        .map(|order| format!("-> {} s{}: {}", frame.agent, frame.session, self::order(order)))
        .collect()
}

fn order(order: &AgentOrder) -> String {
    match order {
        AgentOrder::Registered { grant, .. } => format!("registered, grant {grant}"),
        AgentOrder::Refused { refusal: why, gone } => {
            format!("refused {}{}", refusal(why), if *gone { ", gone" } else { "" })
        }
        AgentOrder::Grant { grant } => format!("grant {grant}"),
        AgentOrder::Template { .. } => "template".to_owned(),
        AgentOrder::Launch { tasks } => format!("launch {}", launched(tasks)),
        AgentOrder::Kill { framework, task, cause, .. } => {
            let cause = match cause {
                KillCause::Framework => "",
                KillCause::Operator => " by operator",
                KillCause::Drain => " to drain",
                KillCause::Maintenance => " for maintenance",
                KillCause::Preemption => " for preemption",
            };
            format!("kill {framework}/{task}{cause}")
        }
        AgentOrder::Acknowledge { framework, through, except, .. } => {
            let except = if except.is_empty() { String::new() } else { format!(" but {except:?}") };
            format!("acknowledge {framework} through {through}{except}")
        }
        AgentOrder::EndFramework { framework } => format!("end {framework}"),
        AgentOrder::ApplyHold { hold } => {
            format!("apply {} op {}: {}", hold.id, hold.op, hold.held())
        }
        AgentOrder::RemoveHold { id, op } => format!("remove {id} op {op}"),
        AgentOrder::Preempt { claim, tasks, grace } => {
            let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
            format!("preempt {} for {} within {grace}", tasks.join(" "), claim.id)
        }
        AgentOrder::DropClaim { claim } => format!("drop {claim}"),
        AgentOrder::Prepare { gang, tasks } => format!("prepare {gang}: {}", launched(tasks)),
        AgentOrder::StartGang { gang } => format!("start {gang}"),
        AgentOrder::AbortGang { gang, why } => format!("abort {gang}: {why}"),
    }
}

fn launched(tasks: &[AgentLaunch]) -> String {
    let names: Vec<String> =
        tasks.iter().map(|task| format!("{}/{}", task.framework, task.launch.name)).collect();
    names.join(" ")
}

fn event(event: &Event) -> String {
    match event {
        Event::Subscribed { framework, epoch, .. } => {
            format!("subscribed {framework} epoch {epoch}")
        }
        Event::Standby { active } => format!("standby, active is {active}"),
        Event::SnapshotPage { tasks } => {
            format!("snapshot {}", tasks.iter().map(record).collect::<Vec<_>>().join(", "))
        }
        Event::SnapshotEnd { absent, .. } if absent.is_empty() => "snapshot complete".to_owned(),
        Event::SnapshotEnd { absent, .. } => format!("snapshot ends, absent: {}", listed(absent)),
        Event::SnapshotAbsent { absent } => format!("snapshot, absent: {}", listed(absent)),
        Event::AgentResolved { agent, absence: None } => format!("{agent} is back"),
        Event::AgentResolved { agent, absence: Some(why) } => {
            format!("{agent} is {}", absence(*why))
        }
        Event::Offers { offers } => {
            let offers: Vec<String> = offers
                .iter()
                .map(|offer| {
                    let group = offer.group.as_ref().map(|g| format!(" for {}x{g}", offer.count));
                    let planned =
                        offer.unavailability.map(|it| format!(" out for {}", it.duration));
                    format!(
                        "{} {} on {}{}{}",
                        offer.id,
                        resources(&offer.resources),
                        offer.agent,
                        group.unwrap_or_default(),
                        planned.unwrap_or_default()
                    )
                })
                .collect();
            format!("offers {}", offers.join(", "))
        }
        Event::DemandExpired { groups } => {
            let groups =
                groups.iter().map(|group| format!("{} ({} unmet)", group.name, group.unmet));
            format!("expired {}", groups.collect::<Vec<_>>().join(" "))
        }
        Event::Rescinded { offers, reason } => format!("rescinded {offers:?}: {reason}"),
        Event::Hold(news) => {
            let state = news.state.map_or("removed", |state| state.as_str());
            format!("{} on {} {state}", news.hold.id, news.agent)
        }
        Event::InverseOffers { offers } => {
            let offers: Vec<String> = offers.iter().map(inverse_offer).collect();
            format!("is asked: {}", offers.join(", "))
        }
        Event::InverseOffersRescinded { offers, reason } => {
            format!("is asked no more: {offers:?} {reason}")
        }
        Event::Accepted { accept, refusal: None, .. } => format!("accept {accept} booked"),
        Event::Accepted { accept, refusal: Some(why), .. } => {
            format!("accept {accept} refused {}", refusal(why))
        }
        Event::Status(status) => format!("status {}", self::status(status)),
        Event::Task(record) => format!("task {}", self::record(record)),
        Event::State { request, answer } => format!("state {request}: {}", state(answer)),
        Event::Refused { call, refusal: why } => format!("{call} refused {}", refusal(why)),
        Event::Superseded { by } => format!("superseded by {by}"),
        Event::TornDown => "torn down".to_owned(),
        Event::Heartbeat => "heartbeat".to_owned(),
    }
}

fn inverse_offer(offer: &InverseOffer) -> String {
    let why = match &offer.reason {
        VacateReason::Drain => "to drain".to_owned(),
        VacateReason::Maintenance { .. } => "for maintenance".to_owned(),
        VacateReason::Preemption { framework, group, .. } => format!("for {group} of {framework}"),
    };
    let left = offer.deadline.map(|left| format!(" within {left}")).unwrap_or_default();
    format!("{} {why} {}{left}", offer.id, offer.agent)
}

fn listed(absent: &[AbsentAgent]) -> String {
    let absent = absent.iter().map(|it| format!("{} {}", it.agent, absence(it.absence)));
    absent.collect::<Vec<_>>().join(", ")
}

fn state(answer: &StateAnswer) -> String {
    match answer {
        StateAnswer::Page { entries, more } => {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| {
                    let text = String::from_utf8_lossy(&entry.value);
                    format!("{}@{}={text}", entry.key, entry.version)
                })
                .collect();
            format!("{}{}", entries.join(" "), if *more { " …" } else { "" })
        }
        StateAnswer::Committed { versions } => format!("committed {versions:?}"),
        StateAnswer::Refused(why) => format!("refused {}", refusal(why)),
    }
}

fn resources(resources: &Resources) -> String {
    format!("[{resources}]")
}

fn record(record: &TaskRecord) -> String {
    format!("{} on {}", status(&record.status), record.agent_name)
}

fn status(status: &TaskStatus) -> String {
    let reason = if status.reason == StatusReason::None {
        String::new()
    } else {
        format!(" {:?}", status.reason)
    };
    let id = status.id.map(|id| format!(" #{}", id.sequence)).unwrap_or_default();
    format!("{} {:?}{reason}{id}", status.task, status.state)
}

fn absence(absence: Absence) -> &'static str {
    match absence {
        Absence::Awaited => "awaited",
        Absence::UnreachableSince(_) => "unreachable",
        Absence::Gone => "gone",
    }
}
