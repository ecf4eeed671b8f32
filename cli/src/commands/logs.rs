//! `proffer logs`: the output of a task, or of all instances of a service side by side.

use crate::args::{Logs, Output};
use crate::client::{Chunks, Client};
use crate::exit::{ExitCode, Failure};
use crate::output::{note, print};
use proffer_proto::pb;
use proffer_service::api::types::{InstanceList, InstanceView, ServiceName, ServiceView};
use proffer_service_core::instance::InstanceName;
use proffer_types::{FrameworkId, TaskKey, TaskName, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

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
    let target = Target::parse(&args.target)?;
    let mut readers = Readers::new(client, &args);
    if let (true, Target::Service { service, slot }) = (args.follow, &target) {
        let style = if output == Output::Json { Style::Json } else { Style::Named };
        return follow(client, service, *slot, style, &mut readers).await;
    }
    let tasks = sources(client, &target, &args).await?;
    let alone = tasks.len() == 1;
    let style = match output {
        Output::Json => Style::Json,
        Output::Text if alone => Style::Bare,
        Output::Text => Style::Named,
    };
    tasks.iter().for_each(|key| readers.begin(key, style));
    let mut failed = None;
    while let Some(ended) = readers.next_end().await {
        if let Some((name, failure)) = ended {
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

/// The instances of a service as they come and go.
async fn follow(
    client: &Client,
    service: &ServiceName,
    slot: Option<u32>,
    style: Style,
    readers: &mut Readers,
) -> Result<(), Failure> {
    let framework = service_framework(client).await?;
    let mut views = client.follow(&format!("/v1/services/{service}?watch=1")).await?;
    let mut known = BTreeSet::new();
    loop {
        tokio::select! {
            view = views.next() => {
                let Ok(view) = serde_json::from_str::<ServiceView>(&view?) else { continue };
                let is_asked = |it: &&InstanceView| {
                    let has_output = it.state.is_some_and(|state| {
                        matches!(state, TaskState::Running | TaskState::Killing) || state.is_terminal()
                    });
                    has_output && slot.is_none_or(|slot| it.slot == slot)
                };
                for it in view.instances.iter().filter(is_asked) {
                    if known.insert(it.name.clone()) {
                        readers.begin(&TaskKey { framework, name: it.name.clone() }, style);
                    }
                }
            }
            Some(ended) = readers.next_end() => {
                if let Some((name, failure)) = ended {
                    note(&format!("{name}: {failure}"));
                }
            }
        }
    }
}

/// What reads side by side, one for each stream of each task.
struct Readers {
    client: Client,
    streams: &'static [&'static str],
    query: String,
    running: JoinSet<Option<(TaskName, Failure)>>,
}

impl Readers {
    fn new(client: &Client, args: &Logs) -> Self {
        let streams: &'static [&'static str] = match (args.stdout, args.stderr) {
            (true, _) => &["stdout"],
            (false, true) => &["stderr"],
            (false, false) => &["stdout", "stderr"],
        };
        let follow = if args.follow { "&follow=1" } else { "" };
        let query = format!("tail={}{follow}", args.tail);
        Self { client: client.clone(), streams, query, running: JoinSet::new() }
    }

    fn begin(&mut self, key: &TaskKey, style: Style) {
        for stream in self.streams {
            let query = format!("stream={stream}&{}", self.query);
            let path = format!("/v1/tasks/{}/{}/logs?{query}", key.framework, key.name);
            let source = Source { instance: key.name.to_string(), stream, style };
            let (client, name) = (self.client.clone(), key.name.clone());
            self.running.spawn(async move {
                let read = async { copy(client.stream(&path).await?, &source).await };
                read.await.err().map(|failure: Failure| (name, failure))
            });
        }
    }

    /// Why the next of them that ends could not read on, if so; `None` when none runs.
    async fn next_end(&mut self) -> Option<Option<(TaskName, Failure)>> {
        let ended = self.running.join_next().await?;
        Some(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
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

/// Whose output is asked for.
enum Target {
    Task(TaskKey),
    /// All instances of a service, or those of one slot.
    Service {
        service: ServiceName,
        slot: Option<u32>,
    },
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(key) = text.parse::<TaskKey>() {
            return Ok(Self::Task(key));
        }
        let Some((service, slot)) = text.split_once('/') else {
            return Ok(Self::Service { service: ServiceName::new(text)?, slot: None });
        };
        let slot = slot.parse().map_err(|_| {
            Failure::new(ExitCode::Usage, format!("{slot:?} is not the number of a slot"))
        })?;
        Ok(Self::Service { service: ServiceName::new(service)?, slot: Some(slot) })
    }
}

/// The tasks that are meant now.
async fn sources(client: &Client, target: &Target, args: &Logs) -> Result<Vec<TaskKey>, Failure> {
    let (service, slot) = match target {
        Target::Task(key) => return Ok(vec![key.clone()]),
        Target::Service { service, slot } => (service, *slot),
    };
    let framework = service_framework(client).await?;
    let list: InstanceList = client.get(&format!("/v1/services/{service}/instances")).await?;
    let is_asked = |of: u32| slot.is_none_or(|slot| of == slot);
    let running: Vec<TaskName> = list
        .instances
        .into_iter()
        .filter(|it| !args.previous && it.agent.is_some() && is_asked(it.slot))
        .map(|it| it.name)
        .collect();
    let shown = if running.is_empty() {
        let ended = last_ended(client, framework, service).await?;
        ended.into_iter().filter(|(of, _)| is_asked(*of)).map(|(_, name)| name).collect()
    } else {
        running
    };
    if shown.is_empty() {
        let message = format!("{} has no instance whose output is still known", args.target);
        return Err(
            Failure::new(ExitCode::NotFound, message).hint(format!("proffer why {service}"))
        );
    }
    Ok(shown.into_iter().map(|name| TaskKey { framework, name }).collect())
}

/// Of each slot the instance that failed last, or else the one that ended last: what was taken back in
/// its first moments has nothing to say.
async fn last_ended(
    client: &Client,
    framework: FrameworkId,
    service: &ServiceName,
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
            if instance.service == *service && is_last {
                last.insert(instance.slot, (rank, name));
            }
        }
        if page.next.is_empty() {
            return Ok(last.into_iter().map(|(slot, (_, name))| (slot, name)).collect());
        }
        after = page.next;
    }
}

/// The id of the framework whose services these are, by the master's rule.
pub(crate) async fn service_framework(client: &Client) -> Result<FrameworkId, Failure> {
    let rows: Vec<pb::FrameworkRow> = super::frameworks::all(client).await?;
    let mut meant = rows.iter().filter(|row| {
        let info = row.info.as_ref();
        info.is_some_and(|info| match client.framework() {
            Some(name) => info.name == name,
            None => !info.api_url.is_empty(),
        })
    });
    match (meant.next(), meant.next()) {
        (Some(row), None) => Ok(row.id.parse()?),
        (Some(_), Some(_)) => {
            Err(Failure::new(ExitCode::Refused, "several frameworks serve services")
                .hint("choose one with --framework NAME; proffer frameworks lists them"))
        }
        (None, _) => Err(Failure::new(ExitCode::NotFound, "no service framework has subscribed")),
    }
}
