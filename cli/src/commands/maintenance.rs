//! `proffer agents maintenance`: when agents are out of use.

use super::agents::{all, find};
use super::follow::span;
use super::vacate::{Preview, must_confirm};
use crate::args::{AddMaintenance, Maintenance, MaintenanceVerb, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, json, line, now_ms, time};
use proffer_proto::pb;
use proffer_types::DurationMs;
use serde::Serialize;
use std::collections::BTreeMap;

/// A window with its agents, as rows of agents show it.
#[derive(Serialize)]
struct Window {
    #[serde(flatten)]
    window: pb::WindowRow,
    agents: Vec<String>,
}

pub(crate) async fn run(client: &Client, output: Output, args: Maintenance) -> Result<(), Failure> {
    let answer: pb::OperatorAnswer = match args.verb {
        MaintenanceVerb::List => return list(client, output).await,
        MaintenanceVerb::Add(args) => match add(client, output, args).await? {
            Some(answer) => answer,
            None => return Ok(()),
        },
        MaintenanceVerb::Remove(args) => {
            client.delete(&format!("/v1/maintenance/{}", args.id)).await?
        }
        MaintenanceVerb::Start(args) => {
            let windows = windows(client).await?;
            for agent in windows.get(&args.id).iter().flat_map(|it| &it.agents) {
                Preview::of(client, agent).await?.show();
            }
            let why = format!("what is left on the agents of {} is killed", args.id);
            must_confirm(args.yes, &format!("{why}."), &why)?;
            client.post(&format!("/v1/maintenance/{}/start", args.id), Vec::new()).await?
        }
        MaintenanceVerb::End(args) => {
            client.post(&format!("/v1/maintenance/{}/end", args.id), Vec::new()).await?
        }
    };
    match output {
        Output::Text => line(&answer.message),
        Output::Json => json(&answer),
    }
    Ok(())
}

/// `None`: nothing was to be done.
async fn add(
    client: &Client,
    output: Output,
    args: AddMaintenance,
) -> Result<Option<pb::OperatorAnswer>, Failure> {
    let ms = |flag: &str, text: &str| -> Result<u64, Failure> {
        Ok(u64::try_from(span(flag, text)?.as_millis()).unwrap_or(u64::MAX))
    };
    let start_ms = match (&args.start, &args.begins_in) {
        (Some(text), _) => moment(text)?,
        (None, Some(text)) => now_ms().saturating_add(ms("in", text)?),
        (None, None) => return Err(Failure::new(ExitCode::Usage, "--start or --in is missing")),
    };
    let (duration_ms, lead_ms) = (ms("duration", &args.duration)?, ms("lead", &args.lead)?);
    let mut agents = Vec::new();
    let mut previews = Vec::new();
    for text in &args.agents {
        let id = find(client, text).await?;
        previews.push(Preview::of(client, &id).await?);
        agents.push(id);
    }
    if args.dry_run && output == Output::Json {
        json(&previews);
        return Ok(None);
    }
    previews.iter().for_each(Preview::show);
    if args.dry_run {
        return Ok(None);
    }
    let message = args.message;
    let window = pb::MaintenanceWindow { agents, start_ms, duration_ms, lead_ms, message };
    let body = serde_json::to_vec(&window)
        .map_err(|error| Failure::new(ExitCode::Error, format!("cannot be sent: {error}")))?;
    Ok(Some(client.post("/v1/maintenance", body).await?))
}

fn moment(text: &str) -> Result<u64, Failure> {
    let wrong = |why: String| Failure::new(ExitCode::Usage, format!("--start: {why}"));
    let at: jiff::Timestamp = text.parse().map_err(|error| wrong(format!("{error}")))?;
    u64::try_from(at.as_millisecond()).map_err(|_| wrong("lies before 1970".to_owned()))
}

async fn windows(client: &Client) -> Result<BTreeMap<String, Window>, Failure> {
    let mut windows: BTreeMap<String, Window> = BTreeMap::new();
    for row in all(client).await? {
        for window in row.windows {
            let id = window.id.clone();
            let entry = windows.entry(id).or_insert(Window { window, agents: Vec::new() });
            entry.agents.push(row.id.clone());
        }
    }
    Ok(windows)
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let windows: Vec<Window> = windows(client).await?.into_values().collect();
    if output == Output::Json {
        json(&windows);
        return Ok(());
    }
    let mut table = Table::new(&["ID", "PHASE", "START", "DURATION", "LEAD", "AGENTS", "MESSAGE"]);
    for Window { window, agents } in windows {
        let missed = window.start_ms.saturating_add(window.duration_ms) < now_ms();
        let phase = match window.phase.as_str() {
            "scheduled" if missed => "missed".to_owned(),
            phase => phase.to_owned(),
        };
        table.row([
            window.id,
            phase,
            time(window.start_ms),
            DurationMs(window.duration_ms).to_string(),
            DurationMs(window.lead_ms).to_string(),
            agents.join(","),
            window.message,
        ]);
    }
    table.print();
    Ok(())
}
