//! What people and tools may ask: reads from the published view, verbs through the loop. gRPC and
//! HTTP share every function here.

use super::reads::Reads;
use crate::overview::overview;
use crate::replies::Replies;
use crate::view::View;
use proffer_master_core::Command;
use proffer_proto::pb;
use proffer_types::explanation::Subject;
use proffer_types::operator::{OperatorAnswer, OperatorCall, Overview};
use proffer_types::{
    AgentId, DemandKey, FrameworkId, HoldId, HoldKey, OfferId, PrincipalName, Refusal, RefusalCode,
    RoleName, TaskKey, TaskName,
};
use std::ops::Bound;
use std::sync::Arc;

/// Rows of a page when the caller does not say.
const PAGE_DEFAULT: usize = 1_000;
/// Most rows of a page.
const PAGE_MAX: usize = 10_000;
/// Bytes from which on a page is closed: keeps an answer below what readers take (I15).
const PAGE_BYTES: usize = 1 << 20;

/// Answers operators. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) reads: Reads,
    pub(crate) replies: Arc<Replies>,
    /// Whether the listener lets everybody in: people are told.
    pub(crate) insecure: bool,
}

type Answer<T> = Result<T, Refusal>;

fn not_found(what: &str, id: &impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::NotFound, what, format!("no {what} {id} is known"))
}

fn page_size(asked: u32) -> usize {
    match asked as usize {
        0 => PAGE_DEFAULT,
        asked => asked.min(PAGE_MAX),
    }
}

fn optional<T: std::str::FromStr<Err = Refusal>>(text: &str, field: &str) -> Answer<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|refusal: Refusal| Refusal { field: field.to_owned(), ..refusal })
}

/// The rows of `map` after `after`, at most `size` and not too heavy, and the key to go on from.
fn page<'a, K, V, R>(
    map: &'a imbl::OrdMap<K, V>,
    after: Option<K>,
    size: usize,
    keep: impl Fn(&V) -> bool,
    row: impl Fn(&V) -> R,
) -> (Vec<R>, String)
where
    K: Ord + Clone + std::fmt::Display + 'a,
    V: Clone,
    R: prost::Message,
{
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = map.range((from, Bound::Unbounded)).filter(|(_, value)| keep(value));
    let mut rows = Vec::new();
    let mut last = None;
    let mut bytes = 0;
    for (key, value) in found.by_ref().take(size) {
        let row = row(value);
        bytes += row.encoded_len();
        rows.push(row);
        last = Some(key);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    let next = match (last, found.next()) {
        (Some(last), Some(_)) => last.to_string(),
        _ => String::new(),
    };
    (rows, next)
}

impl Operator {
    async fn view(&self, at_least: &str) -> Answer<Arc<View>> {
        self.reads.view(optional(at_least, "at_least")?).await
    }

    pub(crate) async fn get_overview(&self, ask: pb::GetOverviewRequest) -> Answer<pb::Overview> {
        let found = overview(&*self.view(&ask.at_least).await?);
        let stale = self.reads.is_stale();
        Ok(pb::Overview::from(Overview { insecure: self.insecure, stale, ..found }))
    }

    pub(crate) async fn list_agents(
        &self,
        ask: pb::ListAgentsRequest,
    ) -> Answer<pb::ListAgentsResponse> {
        let view = self.view(&ask.at_least).await?;
        let (agents, next) = page(
            &view.agents,
            optional::<AgentId>(&ask.after, "after")?,
            page_size(ask.page_size),
            |row| ask.condition.is_empty() || row.condition.as_str() == ask.condition,
            |row| pb::AgentRow::from(row.as_ref()),
        );
        Ok(pb::ListAgentsResponse { cursor: view.cursor.to_string(), agents, next })
    }

    pub(crate) async fn get_agent(&self, ask: pb::GetAgentRequest) -> Answer<pb::GetAgentResponse> {
        let view = self.view(&ask.at_least).await?;
        let id: AgentId = ask.id.parse()?;
        let row = view.agents.get(&id).ok_or_else(|| not_found("agent", &id))?;
        let agent = Some(pb::AgentRow::from(row.as_ref()));
        Ok(pb::GetAgentResponse { cursor: view.cursor.to_string(), agent })
    }

    pub(crate) async fn list_frameworks(
        &self,
        ask: pb::ListFrameworksRequest,
    ) -> Answer<pb::ListFrameworksResponse> {
        let view = self.view(&ask.at_least).await?;
        let (frameworks, next) = page(
            &view.frameworks,
            optional::<FrameworkId>(&ask.after, "after")?,
            page_size(ask.page_size),
            |_| true,
            |row| pb::FrameworkRow::from(row.as_ref()),
        );
        Ok(pb::ListFrameworksResponse { cursor: view.cursor.to_string(), frameworks, next })
    }

    pub(crate) async fn list_demand(
        &self,
        ask: pb::ListDemandRequest,
    ) -> Answer<pb::ListDemandResponse> {
        let view = self.view(&ask.at_least).await?;
        let framework = optional::<FrameworkId>(&ask.framework, "framework")?;
        let (demand, next) = page(
            &view.demand,
            optional::<DemandKey>(&ask.after, "after")?,
            page_size(ask.page_size),
            |row| framework.is_none_or(|id| row.framework == id) && (!ask.unmet || row.unmet > 0),
            |row| pb::DemandRow::from(row.as_ref()),
        );
        Ok(pb::ListDemandResponse { cursor: view.cursor.to_string(), demand, next })
    }

    pub(crate) async fn list_tasks(
        &self,
        ask: pb::ListTasksRequest,
    ) -> Answer<pb::ListTasksResponse> {
        let view = self.view(&ask.at_least).await?;
        let framework = optional::<FrameworkId>(&ask.framework, "framework")?;
        let agent = optional::<AgentId>(&ask.agent, "agent")?;
        let (tasks, next) = page(
            if ask.ended { view.ended.rows() } else { &view.tasks },
            optional::<TaskKey>(&ask.after, "after")?,
            page_size(ask.page_size),
            |row| {
                framework.is_none_or(|id| row.status.framework == id)
                    && agent.is_none_or(|id| row.status.agent == id)
                    && (ask.state.is_empty() || row.status.state.as_str() == ask.state)
            },
            |row| pb::TaskRow::from(row.as_ref()),
        );
        Ok(pb::ListTasksResponse { cursor: view.cursor.to_string(), tasks, next })
    }

    pub(crate) async fn get_task(&self, ask: pb::GetTaskRequest) -> Answer<pb::GetTaskResponse> {
        let view = self.view(&ask.at_least).await?;
        let key = task_key(&ask.framework, &ask.task)?;
        let row = view.task(&key).ok_or_else(|| not_found("task", &key))?;
        let task = Some(pb::TaskRow::from(row.as_ref()));
        Ok(pb::GetTaskResponse { cursor: view.cursor.to_string(), task })
    }

    pub(crate) async fn list_offers(
        &self,
        ask: pb::ListOffersRequest,
    ) -> Answer<pb::ListOffersResponse> {
        let view = self.view(&ask.at_least).await?;
        let framework = optional::<FrameworkId>(&ask.framework, "framework")?;
        let (offers, next) = page(
            &view.offers,
            optional::<OfferId>(&ask.after, "after")?,
            page_size(ask.page_size),
            |row| framework.is_none_or(|id| row.framework == id),
            |row| pb::OfferRow::from(row.as_ref()),
        );
        Ok(pb::ListOffersResponse { cursor: view.cursor.to_string(), offers, next })
    }

    pub(crate) async fn list_roles(
        &self,
        ask: pb::ListRolesRequest,
    ) -> Answer<pb::ListRolesResponse> {
        let view = self.view(&ask.at_least).await?;
        let (roles, next) = page(
            &view.roles,
            optional::<RoleName>(&ask.after, "after")?,
            page_size(ask.page_size),
            |_| true,
            |row| pb::RoleRow::from(row.as_ref()),
        );
        Ok(pb::ListRolesResponse { cursor: view.cursor.to_string(), roles, next })
    }

    pub(crate) async fn list_holds(
        &self,
        ask: pb::ListHoldsRequest,
    ) -> Answer<pb::ListHoldsResponse> {
        let view = self.view(&ask.at_least).await?;
        let agent = optional::<AgentId>(&ask.agent, "agent")?;
        let role = optional::<RoleName>(&ask.role, "role")?;
        let volumes = match ask.kind.as_str() {
            "" => None,
            "reservation" => Some(false),
            "volume" => Some(true),
            other => {
                let message = format!("{:?} is no kind", proffer_types::refusal::excerpt(other));
                return Err(Refusal::new(RefusalCode::InvalidArgument, "kind", message)
                    .hint("reservation or volume"));
            }
        };
        let (holds, next) = page(
            &view.holds,
            optional::<HoldKey>(&ask.after, "after")?,
            page_size(ask.page_size),
            |row| {
                let is_volume = matches!(row.hold.id, HoldId::Volume(_));
                agent.is_none_or(|id| row.agent == id)
                    && role.as_ref().is_none_or(|role| row.hold.role() == Some(role))
                    && volumes.is_none_or(|wanted| wanted == is_volume)
                    && (ask.state.is_empty() || row.state.as_str() == ask.state)
            },
            |row| pb::HoldRow::from(row.as_ref()),
        );
        Ok(pb::ListHoldsResponse { cursor: view.cursor.to_string(), holds, next })
    }

    /// Newest first. `next` is how many are newer than the next page.
    pub(crate) async fn list_events(
        &self,
        ask: pb::ListEventsRequest,
    ) -> Answer<pb::ListEventsResponse> {
        let view = self.view(&ask.at_least).await?;
        let skip: usize = if ask.after.is_empty() {
            0
        } else {
            ask.after.parse().map_err(|_| {
                Refusal::new(RefusalCode::InvalidArgument, "after", "is not the `next` of a page")
            })?
        };
        let mut found = view.events.iter().rev().enumerate().skip(skip).filter(|(_, row)| {
            (ask.kind.is_empty() || row.kind == ask.kind)
                && (ask.subject.is_empty() || row.subject == ask.subject)
        });
        let mut events = Vec::new();
        let mut last = skip;
        for (at, row) in found.by_ref().take(page_size(ask.page_size)) {
            events.push(pb::EventRow::from(row.as_ref()));
            last = at + 1;
        }
        let next = if found.next().is_some() { last.to_string() } else { String::new() };
        Ok(pb::ListEventsResponse { cursor: view.cursor.to_string(), events, next })
    }

    pub(crate) async fn why(&self, ask: pb::WhyRequest) -> Answer<pb::WhyResponse> {
        let view = self.view(&ask.at_least).await?;
        let subject = subject(&ask.kind, &ask.subject)?;
        let known = match &subject {
            Subject::Framework(id) | Subject::Demand(id, _) => view.frameworks.contains_key(id),
            Subject::Task(key) => view.task(key).is_some(),
            Subject::Agent(id) => view.agents.contains_key(id),
            // One that nobody uses is answered for all the same.
            Subject::Role(_) => true,
        };
        if !known {
            return Err(not_found(&ask.kind, &ask.subject));
        }
        let explanation = Some(pb::Explanation::from(self.reads.view.explain(subject).await?));
        Ok(pb::WhyResponse { cursor: view.cursor.to_string(), explanation })
    }

    /// Passes a verb to the loop and waits for its answer.
    pub(crate) async fn call(
        &self,
        principal: PrincipalName,
        call: OperatorCall,
    ) -> Answer<pb::OperatorAnswer> {
        let inbox = self.reads.leading.calls()?;
        let (reply_to, answered) = self.replies.expect()?;
        inbox.send(Command::Operator { reply_to, principal, call }).await?;
        let (answer, at) = answered.await.map_err(|_| Refusal::not_leader(None))?;
        match answer {
            OperatorAnswer::Done { message } => {
                Ok(pb::OperatorAnswer { message, cursor: at.to_string() })
            }
            OperatorAnswer::Refused(refusal) => Err(refusal),
            OperatorAnswer::Explained(explanation) => {
                Ok(pb::OperatorAnswer { message: explanation.summary, cursor: at.to_string() })
            }
        }
    }
}

pub(crate) fn task_key(framework: &str, task: &str) -> Answer<TaskKey> {
    Ok(TaskKey { framework: framework.parse()?, name: TaskName::new(task)? })
}

fn subject(kind: &str, text: &str) -> Answer<Subject> {
    Ok(match kind {
        "framework" => Subject::Framework(text.parse()?),
        "task" => Subject::Task(text.parse()?),
        "agent" => Subject::Agent(text.parse()?),
        "role" => Subject::Role(text.parse()?),
        "demand" => {
            let (framework, group) = text.split_once('/').ok_or_else(|| {
                Refusal::new(
                    RefusalCode::InvalidArgument,
                    "subject",
                    "a demand is named FRAMEWORK/GROUP",
                )
            })?;
            Subject::Demand(framework.parse()?, group.parse()?)
        }
        other => {
            let message =
                format!("{:?} cannot be asked about", proffer_types::refusal::excerpt(other));
            return Err(Refusal::new(RefusalCode::InvalidArgument, "kind", message)
                .hint("framework, demand, role, task or agent"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i15_a_page_of_heavy_rows_is_closed_early_and_the_next_goes_on() {
        let heavy = "x".repeat(200 << 10);
        let map: imbl::OrdMap<u32, ()> = (0..20_u32).map(|key| (key, ())).collect();
        let row = |(): &()| pb::EventRow { message: heavy.clone(), ..pb::EventRow::default() };
        let (mut after, mut seen) = (None, 0);
        loop {
            let (rows, next) = page(&map, after, PAGE_MAX, |()| true, row);
            let bytes: usize = rows.iter().map(prost::Message::encoded_len).sum();
            assert!(!rows.is_empty() && bytes < 2 * PAGE_BYTES, "{bytes}");
            seen += rows.len();
            after = next.parse().ok();
            if next.is_empty() {
                break;
            }
        }
        assert_eq!(seen, map.len());
    }
}
