//! `proffer agents`: what the cluster is made of, and the verbs on one agent.

use super::follow::span;
use super::vacate::{Preview, must_confirm, waits_for};
use crate::args::{AgentVerb, Agents, DrainAgent, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, age, json, line, note, now_ms};
use crate::resources::used_of;
use proffer_proto::pb;
use proffer_types::ResourceName;

pub(crate) async fn run(client: &Client, output: Output, args: Agents) -> Result<(), Failure> {
    match args.verb {
        None => list(client, output).await,
        Some(AgentVerb::Drain(args)) => drain(client, output, args).await,
        Some(AgentVerb::Deactivate(args)) => {
            let id = find(client, &args.id).await?;
            let preview = Preview::of(client, &id).await?;
            if preview.is_most() {
                let why = format!("{id} is more than half of the cluster");
                preview.show();
                must_confirm(args.yes, &format!("{why}."), &why)?;
            }
            act(client, output, &id, "deactivate").await
        }
        Some(AgentVerb::Activate(args)) => {
            let id = find(client, &args.id).await?;
            act(client, output, &id, "activate").await
        }
        Some(AgentVerb::Gone(args)) => {
            let id = find(client, &args.id).await?;
            let preview = Preview::of(client, &id).await?;
            preview.show();
            let question = format!(
                "{id}: its tasks are lost for good; should it return, it ends them and is a new agent."
            );
            must_confirm(args.yes, &question, "not confirmed")?;
            act(client, output, &id, if args.force { "gone?force=true" } else { "gone" }).await
        }
        Some(AgentVerb::Maintenance(args)) => super::maintenance::run(client, output, args).await,
    }
}

async fn act(client: &Client, output: Output, id: &str, verb: &str) -> Result<(), Failure> {
    let answer: pb::OperatorAnswer =
        client.post(&format!("/v1/agents/{id}/{verb}"), Vec::new()).await?;
    match output {
        Output::Text => line(&answer.message),
        Output::Json => json(&answer),
    }
    Ok(())
}

async fn drain(client: &Client, output: Output, args: DrainAgent) -> Result<(), Failure> {
    let deadline = match &args.deadline {
        Some(text) => Some(span("deadline", text)?.as_millis()),
        None => args.now.then_some(0),
    };
    let timeout = span("timeout", &args.timeout)?;
    let id = find(client, &args.id).await?;
    let preview = Preview::of(client, &id).await?;
    if args.dry_run {
        match output {
            Output::Text => preview.show(),
            Output::Json => json(&preview),
        }
        return Ok(());
    }
    preview.show();
    if preview.has_tasks() && preview.is_most() {
        let why = format!("{id} is more than half of the cluster");
        must_confirm(args.yes, &format!("{why}: its tasks may find no other place."), &why)?;
    } else if preview.has_tasks() && deadline == Some(0) {
        let why = format!("the tasks on {id} are ended at once");
        must_confirm(args.yes, &format!("{why}."), &why)?;
    }
    let query = deadline.map(|deadline| format!("?deadline_ms={deadline}")).unwrap_or_default();
    let verb = format!("drain{query}");
    if !args.wait {
        return act(client, output, &id, &verb).await;
    }
    let path = format!("/v1/agents/{id}/{verb}");
    let answer: pb::OperatorAnswer = client.post(&path, Vec::new()).await?;
    super::vacate::wait(client, &id, &answer.cursor, timeout, output).await
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
        "WAITS FOR",
    ]);
    for row in rows {
        let info = row.info.clone().unwrap_or_default();
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
            waits_for(&row),
        ]);
    }
    table.print();
    Ok(())
}
