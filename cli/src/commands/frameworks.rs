//! `proffer frameworks`: who schedules, what it uses and what it waits for.

use crate::args::{FrameworkVerb, Frameworks, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, age, confirm, json, line, now_ms};
use crate::resources::words;
use proffer_proto::pb;
use std::collections::BTreeMap;

pub(crate) async fn run(client: &Client, output: Output, args: Frameworks) -> Result<(), Failure> {
    match args.verb {
        None => list(client, output).await,
        Some(FrameworkVerb::Teardown(args)) => {
            let id = find(client, &args.id).await?;
            let question =
                format!("{}: its tasks are killed and its state is deleted. Go on?", args.id);
            if !args.yes && !confirm(&question) {
                return Err(Failure::new(ExitCode::Refused, "not confirmed").hint("add --yes"));
            }
            let answer: pb::OperatorAnswer = client.delete(&format!("/v1/frameworks/{id}")).await?;
            match output {
                Output::Text => line(&answer.message),
                Output::Json => json(&answer),
            }
            Ok(())
        }
    }
}

/// All frameworks, page by page.
pub(crate) async fn all(client: &Client) -> Result<Vec<pb::FrameworkRow>, Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page: pb::ListFrameworksResponse =
            client.get(&format!("/v1/frameworks?after={after}")).await?;
        rows.extend(page.frameworks);
        if page.next.is_empty() {
            return Ok(rows);
        }
        after = page.next;
    }
}

async fn find(client: &Client, text: &str) -> Result<String, Failure> {
    if text.parse::<proffer_types::FrameworkId>().is_ok() {
        return Ok(text.to_owned());
    }
    let rows = all(client).await?;
    let named = rows.iter().find(|row| row.info.as_ref().is_some_and(|info| info.name == text));
    named.map(|row| row.id.clone()).ok_or_else(|| {
        Failure::new(ExitCode::NotFound, format!("no framework {text:?} is known"))
            .hint("proffer frameworks lists them")
    })
}

/// How many tasks of its demand each framework waits for.
async fn unmet(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let mut unmet = BTreeMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/demand?unmet=true&after={after}");
        let page: pb::ListDemandResponse = client.get(&path).await?;
        for row in page.demand {
            *unmet.entry(row.framework).or_default() += u64::from(row.unmet);
        }
        if page.next.is_empty() {
            return Ok(unmet);
        }
        after = page.next;
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let rows = all(client).await?;
    if output == Output::Json {
        json(&rows);
        return Ok(());
    }
    let unmet = unmet(client).await?;
    let mut table = Table::new(&[
        "ID", "NAME", "STATE", "ROLES", "TASKS", "WAITING", "USES", "REPLICA", "SINCE",
    ]);
    for row in rows {
        let info = row.info.unwrap_or_default();
        let waiting = unmet.get(&row.id).copied().unwrap_or(0);
        table.row([
            row.id.clone(),
            info.name,
            if row.connected { "connected" } else { "disconnected" }.to_owned(),
            info.roles.join(","),
            row.tasks_active.to_string(),
            waiting.to_string(),
            words(&row.allocated),
            row.replica.clone(),
            age(now_ms(), row.since_ms),
        ]);
    }
    table.print();
    Ok(())
}
