//! `proffer logs`: the output of a task, or of all instances of a service side by side.

use crate::args::{Logs, Output};
use crate::client::{Chunks, Client};
use crate::exit::{ExitCode, Failure};
use crate::output::{note, print};
use proffer_proto::pb;
use proffer_service::api::types::InstanceList;
use proffer_service_core::instance::InstanceName;
use proffer_types::{FrameworkId, TaskKey, TaskName, TaskState};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// The name by which the master finds the framework that services are passed on to.
pub(crate) const SERVICE_FRAMEWORK: &str = "service";

/// One stream of one task.
struct Source {
    instance: String,
    stream: &'static str,
    style: Style,
}

/// How a line is shown.
#[derive(Clone, Copy)]
enum Style {
    /// As it is: there is nothing to tell apart.
    Bare,
    /// After the instance; `!` instead of `|` marks standard error.
    Named,
    /// One object a line.
    Json,
}

pub(crate) async fn run(client: &Client, output: Output, args: Logs) -> Result<(), Failure> {
    let streams: &[&'static str] = match (args.stdout, args.stderr) {
        (true, _) => &["stdout"],
        (false, true) => &["stderr"],
        (false, false) => &["stdout", "stderr"],
    };
    let follow = if args.follow { "&follow=1" } else { "" };
    let tasks = sources(client, &args.target, args.previous).await?;
    let alone = tasks.len() == 1;
    let style = match output {
        Output::Json => Style::Json,
        Output::Text if alone => Style::Bare,
        Output::Text => Style::Named,
    };
    let mut readers = JoinSet::new();
    for (instance, key) in tasks {
        for stream in streams {
            let query = format!("stream={stream}&tail={}{follow}", args.tail);
            let path = format!("/v1/tasks/{}/{}/logs?{query}", key.framework, key.name);
            let source = Source { instance: instance.clone(), stream, style };
            let client = client.clone();
            let name = key.name.clone();
            readers.spawn(async move {
                let read = async { copy(client.stream(&path).await?, &source).await };
                read.await.map_err(|failure: Failure| (name, failure))
            });
        }
    }
    let mut failed = None;
    while let Some(ended) = readers.join_next().await {
        if let Ok(Err((name, failure))) = ended {
            if !alone {
                note(&format!("{name}: {failure}"));
            }
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
async fn copy(mut chunks: Chunks, source: &Source) -> Result<(), Failure> {
    let mut rest = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        rest.extend_from_slice(&chunk);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
        let lines: Vec<u8> = rest.drain(..=end).collect();
        print(&source.shown(&lines));
    }
    if !rest.is_empty() {
        rest.push(b'\n');
        print(&source.shown(&rest));
    }
    Ok(())
}

impl Source {
    fn shown(&self, lines: &[u8]) -> String {
        let text = String::from_utf8_lossy(lines);
        let Self { instance, stream, .. } = self;
        let mark = if *stream == "stderr" { '!' } else { '|' };
        match self.style {
            Style::Bare => text.into_owned(),
            Style::Named => {
                text.lines().map(|line| format!("{instance} {mark} {line}\n")).collect()
            }
            Style::Json => text
                .lines()
                .map(|line| {
                    let row =
                        serde_json::json!({ "instance": instance, "stream": stream, "line": line });
                    format!("{row}\n")
                })
                .collect(),
        }
    }
}

/// What a target means: a task, a service, or one slot of a service.
async fn sources(
    client: &Client,
    target: &str,
    previous: bool,
) -> Result<Vec<(String, TaskKey)>, Failure> {
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
    let is_asked = |of: u32| slot.is_none_or(|slot| of == slot);
    let running: Vec<TaskName> = list
        .instances
        .into_iter()
        .filter(|it| !previous && it.agent.is_some() && is_asked(it.slot))
        .map(|it| it.name)
        .collect();
    let shown = if running.is_empty() {
        let ended = last_ended(client, framework, service).await?;
        ended.into_iter().filter(|(of, _)| is_asked(*of)).map(|(_, name)| name).collect()
    } else {
        running
    };
    if shown.is_empty() {
        let message = format!("{target} has no instance whose output is still known");
        return Err(
            Failure::new(ExitCode::NotFound, message).hint(format!("proffer why {service}"))
        );
    }
    Ok(shown.into_iter().map(|name| (name.to_string(), TaskKey { framework, name })).collect())
}

/// Of each slot the instance that failed last, or else the one that ended last: what was taken back in
/// its first moments has nothing to say.
async fn last_ended(
    client: &Client,
    framework: FrameworkId,
    service: &str,
) -> Result<BTreeMap<u32, TaskName>, Failure> {
    let mut last: BTreeMap<u32, ((bool, u64), TaskName)> = BTreeMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/tasks?ended=true&framework={framework}&after={after}");
        let page: pb::ListTasksResponse = client.get(&path).await?;
        for row in page.tasks {
            let name: TaskName = row.name.parse()?;
            let Some(instance) = InstanceName::parse(&name) else { continue };
            let rank = (row.state == TaskState::Failed.as_str(), row.at_ms);
            let is_last = last.get(&instance.slot).is_none_or(|(known, _)| *known <= rank);
            if instance.service.as_str() == service && is_last {
                last.insert(instance.slot, (rank, name));
            }
        }
        if page.next.is_empty() {
            return Ok(last.into_iter().map(|(slot, (_, name))| (slot, name)).collect());
        }
        after = page.next;
    }
}

/// The id of the framework whose services these are.
pub(crate) async fn service_framework(client: &Client) -> Result<FrameworkId, Failure> {
    let rows: Vec<pb::FrameworkRow> = super::frameworks::all(client).await?;
    let row = rows
        .iter()
        .find(|row| row.info.as_ref().is_some_and(|info| info.name == SERVICE_FRAMEWORK));
    let row =
        row.ok_or_else(|| Failure::new(ExitCode::NotFound, "no service framework has subscribed"))?;
    Ok(row.id.parse()?)
}
