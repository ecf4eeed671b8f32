//! What it means to take an agent out of use, shown before it is done; and how far a drain has come.

use crate::args::Output;
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, confirm, json, note, step};
use crate::resources::{scalar_of, words};
use proffer_proto::pb;
use proffer_types::{ResourceName, TaskState};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the progress of a drain is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is on an agent, and what goes with it.
#[derive(Serialize)]
pub(crate) struct Preview {
    agent: String,
    name: String,
    condition: String,
    /// What the agent has.
    capacity: String,
    /// Its part of the CPUs of all agents that take tasks.
    capacity_percent: u64,
    tasks: usize,
    frameworks: Vec<Touched>,
}

/// A framework that has tasks there.
#[derive(Serialize)]
struct Touched {
    framework: String,
    name: String,
    /// Whether somebody is there to be asked.
    connected: bool,
    tasks: usize,
    /// Instances by service.
    services: BTreeMap<String, usize>,
}

impl Preview {
    pub(crate) async fn of(client: &Client, id: &str) -> Result<Self, Failure> {
        let rows = super::agents::all(client).await?;
        let cpus = |row: &pb::AgentRow| {
            row.info.as_ref().map_or(0, |info| scalar_of(&info.resources, &ResourceName::Cpus))
        };
        let all: u64 = rows.iter().filter(|row| row.condition == "active").map(cpus).sum();
        let row = rows.iter().find(|row| row.id == id).ok_or_else(|| {
            Failure::new(ExitCode::NotFound, format!("no agent {id} is known"))
                .hint("proffer agents lists them")
        })?;
        let listed: pb::ListFrameworksResponse = client.get("/v1/frameworks").await?;
        let frameworks = tasks_of(client, id).await?.into_iter().map(|(framework, services)| {
            let known = listed.frameworks.iter().find(|row| row.id == framework);
            Touched {
                name: known
                    .and_then(|row| Some(row.info.as_ref()?.name.clone()))
                    .unwrap_or_default(),
                connected: known.is_some_and(|row| row.connected),
                tasks: services.values().sum(),
                services: services.into_iter().filter(|(name, _)| !name.is_empty()).collect(),
                framework,
            }
        });
        let frameworks: Vec<Touched> = frameworks.collect();
        let info = row.info.clone().unwrap_or_default();
        Ok(Self {
            agent: row.id.clone(),
            name: info.name,
            condition: row.condition.clone(),
            capacity: words(&info.resources),
            capacity_percent: (cpus(row) * 100).checked_div(all).unwrap_or(0),
            tasks: frameworks.iter().map(|it| it.tasks).sum(),
            frameworks,
        })
    }

    /// Whether it is more than half of what takes tasks.
    pub(crate) fn is_most(&self) -> bool {
        self.condition == "active" && self.capacity_percent > 50
    }

    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks > 0
    }

    /// For people, where it does not disturb what programs read.
    pub(crate) fn show(&self) {
        note(&format!(
            "{} ({}): {}; {} % of the CPUs that take tasks",
            self.agent, self.name, self.capacity, self.capacity_percent
        ));
        if self.frameworks.is_empty() {
            return note("no task runs there");
        }
        let mut table = Table::new(&["FRAMEWORK", "NAME", "TASKS", "SERVICES"]);
        for it in &self.frameworks {
            let away = if it.connected { "" } else { " (away: nobody can be asked)" };
            let services = it.services.iter().map(|(name, count)| format!("{name} ({count})"));
            table.row([
                it.framework.clone(),
                format!("{}{away}", it.name),
                it.tasks.to_string(),
                services.collect::<Vec<_>>().join(", "),
            ]);
        }
        note(table.render(None).trim_end());
    }
}

/// Live tasks on an agent: how many, by framework and service.
async fn tasks_of(
    client: &Client,
    id: &str,
) -> Result<BTreeMap<String, BTreeMap<String, usize>>, Failure> {
    let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/tasks?agent={id}&after={after}");
        let page: pb::ListTasksResponse = client.get(&path).await?;
        for row in page.tasks {
            if TaskState::from_text(&row.state).is_some_and(TaskState::is_terminal) {
                continue;
            }
            let service = row.labels.get("service").cloned().unwrap_or_default();
            *counts.entry(row.framework).or_default().entry(service).or_default() += 1;
        }
        if page.next.is_empty() {
            return Ok(counts);
        }
        after = page.next;
    }
}

/// Asks people, unless they said so before.
pub(crate) fn must_confirm(yes: bool, question: &str, why: &str) -> Result<(), Failure> {
    if yes || confirm(&format!("{question} Go on?")) {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Refused, why.to_owned()).hint("add --yes"))
}

/// What an agent that is emptied still waits for, in a few words.
pub(crate) fn waits_for(row: &pb::AgentRow) -> String {
    let Some(vacating) = &row.vacating else { return String::new() };
    let holder = |it: &pb::VacateHolder| {
        let answer = match it.answer.as_str() {
            _ if vacating.is_binding => "is being ended".to_owned(),
            "accepted" => "moves them".to_owned(),
            "declined" => format!("declined: {}", it.reason),
            _ => "has not answered".to_owned(),
        };
        format!("{} {} ({answer})", it.framework, it.tasks)
    };
    vacating.holders.iter().map(holder).collect::<Vec<_>>().join(", ")
}

/// Follows a drain to its end; `since` is where a view stands that shows its beginning.
pub(crate) async fn wait(
    client: &Client,
    id: &str,
    since: &str,
    timeout: Duration,
    output: Output,
) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + timeout;
    let mut told = String::new();
    let path = format!("/v1/agents/{id}?at_least={since}");
    loop {
        let answer: pb::GetAgentResponse = client.get(&path).await?;
        let row = answer.agent.unwrap_or_default();
        let left = waits_for(&row);
        if row.condition == "drained" {
            match output {
                Output::Text => step(&format!("{id} is drained")),
                Output::Json => json(&row),
            }
            return Ok(());
        }
        if row.vacating.is_none() {
            let why = format!("{id} is {}: it is not being drained any more", row.condition);
            return Err(Failure::new(ExitCode::Refused, why));
        }
        let now = format!("{} tasks left on {id} ({}): {left}", row.tasks_active, row.condition);
        if output == Output::Text && now != told {
            step(&now);
        }
        if tokio::time::Instant::now() >= end {
            let message = format!("{id} is not drained yet: {} tasks are left", row.tasks_active);
            return Err(
                Failure::new(ExitCode::Timeout, message).hint(format!("the drain goes on; {left}"))
            );
        }
        told = now;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
