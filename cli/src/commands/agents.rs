//! `proffer agents`: what the cluster is made of, and the verbs on one agent.

use crate::args::{AgentVerb, Agents, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, age, confirm, json, line, note, now_ms};
use crate::resources::{scalar_of, used_of};
use proffer_proto::pb;
use proffer_types::ResourceName;

pub(crate) async fn run(client: &Client, output: Output, args: Agents) -> Result<(), Failure> {
    let (id, verb) = match args.verb {
        None => return list(client, output).await,
        Some(AgentVerb::Drain(args)) => {
            if !args.yes {
                confirm_drain(client, &args.id).await?;
            }
            (args.id, "drain")
        }
        Some(AgentVerb::Deactivate(args)) => (args.id, "deactivate"),
        Some(AgentVerb::Activate(args)) => (args.id, "activate"),
        Some(AgentVerb::Gone(args)) => {
            let question = format!(
                "{}: its tasks are lost for good; should it return, it ends them and is a new agent. Go on?",
                args.id
            );
            if !args.yes && !confirm(&question) {
                return Err(Failure::new(ExitCode::Refused, "not confirmed").hint("add --yes"));
            }
            (args.id, if args.force { "gone?force=true" } else { "gone" })
        }
    };
    let id = find(client, &id).await?;
    let answer: pb::OperatorAnswer =
        client.post(&format!("/v1/agents/{id}/{verb}"), Vec::new()).await?;
    match output {
        Output::Text => line(&answer.message),
        Output::Json => json(&answer),
    }
    Ok(())
}

/// To drain most of a cluster is seldom meant: what runs there finds no other place.
async fn confirm_drain(client: &Client, text: &str) -> Result<(), Failure> {
    let id = find(client, text).await?;
    let rows = all(client).await?;
    let cpus = |row: &pb::AgentRow| {
        let info = row.info.as_ref();
        info.map_or(0, |info| scalar_of(&info.resources, &ResourceName::Cpus))
    };
    let all_cpus: u64 = rows.iter().filter(|row| row.condition == "active").map(cpus).sum();
    let Some(row) = rows.iter().find(|row| row.id == id) else { return Ok(()) };
    if row.tasks_active == 0 || cpus(row) * 2 <= all_cpus {
        return Ok(());
    }
    let question = format!(
        "{text} is more than half of the cluster, and its {} tasks are ended. Go on?",
        row.tasks_active
    );
    if confirm(&question) {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Refused, format!("{text} is more than half of the cluster"))
        .hint("add --yes"))
}

/// All agents, page by page.
pub(crate) async fn all(client: &Client) -> Result<Vec<pb::AgentRow>, Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page: pb::ListAgentsResponse = client.get(&format!("/v1/agents?after={after}")).await?;
        rows.extend(page.agents);
        if page.next.is_empty() {
            return Ok(rows);
        }
        after = page.next;
    }
}

/// An id, or the id of the agent with that name.
pub(crate) async fn find(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<proffer_types::AgentId>().is_ok() {
        return Ok(text.to_owned());
    }
    let rows = all(client).await?;
    let named = rows.iter().find(|row| row.info.as_ref().is_some_and(|info| info.name == text));
    named.map(|row| row.id.clone()).ok_or_else(|| {
        Failure::new(ExitCode::NotFound, format!("no agent {text:?} is known"))
            .hint("proffer agents lists them")
    })
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let overview: pb::Overview = client.get("/v1/overview").await?;
    if overview.insecure {
        note("the master lets everybody in: it runs with --insecure");
    }
    let rows = all(client).await?;
    if output == Output::Json {
        json(&rows);
        return Ok(());
    }
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "CONDITION",
        "TASKS",
        "CPUS",
        "MEM",
        "PORTS",
        "ADDRESS",
        "ISOLATION",
        "SINCE",
    ]);
    for row in rows {
        let info = row.info.unwrap_or_default();
        let used = |name: &ResourceName| used_of(&row.allocated, &info.resources, name);
        table.row([
            row.id.clone(),
            info.name.clone(),
            row.condition.clone(),
            row.tasks_active.to_string(),
            used(&ResourceName::Cpus),
            used(&ResourceName::Mem),
            used(&ResourceName::Ports),
            if info.insecure {
                format!("{} (insecure)", info.address)
            } else {
                info.address.clone()
            },
            info.isolation.clone(),
            age(now_ms(), row.since_ms),
        ]);
    }
    table.print();
    Ok(())
}
