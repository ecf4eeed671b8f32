//! `proffer logs`: the output of a task, or of all instances of a service side by side.

use crate::args::Logs;
use crate::client::{Chunks, Client};
use crate::exit::{ExitCode, Failure};
use crate::output::{note, print};
use proffer_proto::pb;
use proffer_service::api::types::InstanceList;
use proffer_types::TaskKey;
use tokio::task::JoinSet;

pub(crate) async fn run(client: &Client, args: Logs) -> Result<(), Failure> {
    let stream = if args.stderr { "stderr" } else { "stdout" };
    let follow = if args.follow { "&follow=1" } else { "" };
    let query = format!("stream={stream}&tail={}{follow}", args.tail);
    let sources = sources(client, &args.target).await?;
    let alone = sources.len() == 1;
    let mut readers = JoinSet::new();
    for (prefix, key) in sources {
        let client = client.clone();
        let path = format!("/v1/tasks/{}/{}/logs?{query}", key.framework, key.name);
        let prefix = if alone { String::new() } else { format!("{prefix} | ") };
        readers.spawn(async move {
            match client.stream(&path).await {
                Ok(chunks) => copy(chunks, &prefix).await,
                Err(failure) => Err(failure),
            }
        });
    }
    let mut failed = None;
    while let Some(ended) = readers.join_next().await {
        if let Ok(Err(failure)) = ended {
            note(&format!("error: {failure}"));
            failed = Some(failure);
        }
    }
    // One instance that cannot be read does not hide the others; only when it was the one asked for.
    match failed {
        Some(failure) if alone => Err(failure),
        _ => Ok(()),
    }
}

/// Prints whole lines, so that those of several instances do not mix.
async fn copy(mut chunks: Chunks, prefix: &str) -> Result<(), Failure> {
    let mut rest = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        rest.extend_from_slice(&chunk);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let lines: Vec<u8> = rest.drain(..=end).collect();
        show(&lines, prefix);
    }
    if !rest.is_empty() {
        rest.push(b'\n');
        show(&rest, prefix);
    }
    Ok(())
}

fn show(lines: &[u8], prefix: &str) {
    let text = String::from_utf8_lossy(lines);
    if prefix.is_empty() {
        print(&text);
    } else {
        print(&text.lines().map(|line| format!("{prefix}{line}\n")).collect::<String>());
    }
}

/// What a target means: a task, a service, or one slot of a service.
async fn sources(client: &Client, target: &str) -> Result<Vec<(String, TaskKey)>, Failure> {
    if let Ok(key) = target.parse::<TaskKey>() {
        return Ok(vec![(key.name.to_string(), key)]);
    }
    let (service, slot) = match target.split_once('/') {
        Some((service, slot)) => {
            let slot: u32 = slot.parse().map_err(|_| {
                Failure::new(ExitCode::Usage, format!("{slot:?} is not the number of a slot"))
            })?;
            (service, Some(slot))
        }
        None => (target, None),
    };
    let framework = service_framework(client).await?;
    let list: InstanceList = client.get(&format!("/v1/services/{service}/instances")).await?;
    let found: Vec<_> = list
        .instances
        .into_iter()
        .filter(|it| it.agent.is_some() && slot.is_none_or(|slot| it.slot == slot))
        .map(|it| (it.name.to_string(), TaskKey { framework, name: it.name }))
        .collect();
    if found.is_empty() {
        let message = format!("{target} has no instance that has run");
        return Err(
            Failure::new(ExitCode::NotFound, message).hint(format!("proffer why {service}"))
        );
    }
    Ok(found)
}

/// The id of the framework whose services these are.
pub(crate) async fn service_framework(
    client: &Client,
) -> Result<proffer_types::FrameworkId, Failure> {
    let rows: Vec<pb::FrameworkRow> = super::frameworks::all(client).await?;
    let row = rows.iter().find(|row| row.info.as_ref().is_some_and(|info| info.name == "service"));
    let row =
        row.ok_or_else(|| Failure::new(ExitCode::NotFound, "no service framework has subscribed"))?;
    Ok(row.id.parse()?)
}
