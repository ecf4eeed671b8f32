//! Follows rollouts to their end: a line for each change, and the exit code that says how it ended.

use super::deploy::describe;
use crate::args::{Following, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{json, line, note, step};
use proffer_service::api::types::{
    ChangeKind, RolloutState, ServiceReply, ServiceStatus, ServiceView,
};
use proffer_types::DurationMs;
use std::time::{Duration, Instant};

/// A rollout that a call has started.
pub(crate) struct Started {
    pub(crate) service: String,
    pub(crate) rollout: u32,
    /// What the call did.
    pub(crate) change: ChangeKind,
    /// The same in words.
    pub(crate) done: String,
}

/// How long to wait when nobody says: the default progress deadline and a minute.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(11 * 60);

/// How rollouts that were followed ended, in the order of what was started.
pub(crate) struct Followed {
    /// The first that is not well.
    pub(crate) code: ExitCode,
    outcomes: Vec<Outcome>,
}

/// How one ended, for `-o json`.
#[derive(Clone, Default, serde::Serialize)]
struct Outcome {
    /// `done`, `failed`, `rolled_back`, `superseded`, `stopped`, `timeout`.
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// What the first instance that failed said.
    #[serde(skip_serializing_if = "String::is_empty")]
    first_failure: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
}

/// The answer to a call, with how each of its rollouts ended.
pub(crate) fn outcome_json(reply: &ServiceReply, followed: &Followed) -> serde_json::Value {
    let mut value = serde_json::json!(reply);
    let rows = value["services"].as_array_mut().into_iter().flatten();
    for (row, outcome) in rows.zip(&followed.outcomes) {
        row["outcome"] = serde_json::json!(outcome);
    }
    value
}

/// Prints what a call did and, unless detached, follows the rollouts.
pub(crate) async fn report(
    client: &Client,
    output: Output,
    reply: ServiceReply,
    following: &Following,
) -> Result<ExitCode, Failure> {
    let started = describe(&reply);
    if output == Output::Text {
        for it in &started {
            line(&format!("{:<16} {}", it.service, it.done));
        }
    }
    let followed = if following.detach {
        Followed { code: ExitCode::Done, outcomes: Vec::new() }
    } else {
        tokio::select! {
            followed = follow_all(client, output, &started, timeout(following)?) => followed?,
            _ = tokio::signal::ctrl_c() => {
                let names: Vec<_> = started.iter().map(|it| it.service.as_str()).collect();
                note(&format!("it goes on; look with: proffer status {}", names.join(" ")));
                return Ok(ExitCode::Interrupted);
            }
        }
    };
    if output == Output::Json {
        json(&outcome_json(&reply, &followed));
    }
    Ok(followed.code)
}

/// `--timeout`.
pub(crate) fn timeout(following: &Following) -> Result<Duration, Failure> {
    match &following.timeout {
        None => Ok(TIMEOUT_DEFAULT),
        Some(text) => span("timeout", text),
    }
}

/// A span of time from a flag.
pub(crate) fn span(flag: &str, text: &str) -> Result<Duration, Failure> {
    DurationMs::parse(text)
        .map(|span| Duration::from_millis(span.0))
        .map_err(|why| Failure::new(ExitCode::Usage, format!("--{flag}: {why}")))
}

/// Follows one after the other: they go on side by side all the same.
pub(crate) async fn follow_all(
    client: &Client,
    output: Output,
    started: &[Started],
    timeout: Duration,
) -> Result<Followed, Failure> {
    let until = Instant::now() + timeout;
    let mut followed = Followed { code: ExitCode::Done, outcomes: Vec::new() };
    for it in started {
        let left = until.saturating_duration_since(Instant::now());
        let (code, outcome) = match tokio::time::timeout(left, follow(client, output, it)).await {
            Ok(ended) => ended?,
            Err(_) => {
                if output == Output::Text {
                    line(&format!(
                        "{:<16} still rolling; watch it with: proffer status {}",
                        it.service, it.service
                    ));
                }
                (ExitCode::Timeout, Outcome { state: "timeout", ..Outcome::default() })
            }
        };
        followed.outcomes.push(outcome);
        if followed.code == ExitCode::Done {
            followed.code = code;
        }
    }
    Ok(followed)
}

async fn follow(
    client: &Client,
    output: Output,
    started: &Started,
) -> Result<(ExitCode, Outcome), Failure> {
    let mut last = String::new();
    let mut events = client.follow_patiently(&format!("/v1/services/{}?watch=1", started.service));
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            // A service that is being removed ends by not being there.
            Err(failure) if failure.code == ExitCode::NotFound => {
                if output == Output::Text {
                    step(&format!("{:<16} is gone", started.service));
                }
                return Ok((ExitCode::Done, Outcome { state: "done", ..Outcome::default() }));
            }
            Err(failure) => return Err(failure),
        };
        let Ok(view) = serde_json::from_str::<ServiceView>(&event) else { continue };
        let now = progress(&view);
        if output == Output::Text && now != last {
            step(&format!("{:<16} {now}", started.service));
            last = now;
        }
        if let Some((code, words, outcome)) = ended(&view, started) {
            if output == Output::Text {
                words.iter().for_each(|words| step(&format!("{:<16} {words}", started.service)));
            }
            return Ok((code, outcome));
        }
    }
}

/// One line on where a service stands.
pub(crate) fn progress(view: &ServiceView) -> String {
    let it = &view.summary;
    let old = if it.old > 0 { format!(", {} old", it.old) } else { String::new() };
    let waits = view.waits.first().map(|wait| format!("; {}", wait.sentence()));
    let waits = waits.unwrap_or_default();
    format!("{}/{} ready{old}{waits}", it.ready, it.instances)
}

/// Whether what a call without a rollout of its own asked for is so. A rollout that goes on, or that
/// failed before, is another matter.
fn settled(view: &ServiceView, change: ChangeKind) -> Option<bool> {
    let it = &view.summary;
    match change {
        ChangeKind::Scaled | ChangeKind::Started => {
            Some(it.ready >= it.instances && it.waiting == 0)
        }
        ChangeKind::Stopped => Some(view.instances.iter().all(|instance| {
            instance.exit.is_some()
                || instance.state.is_none_or(proffer_types::TaskState::is_terminal)
        })),
        // It ends by not being there.
        ChangeKind::Removed => Some(false),
        ChangeKind::Created
        | ChangeKind::Updated
        | ChangeKind::Unchanged
        | ChangeKind::Retried
        | ChangeKind::RolledBack
        | ChangeKind::Restarted => None,
    }
}

/// How it ended, in words and as data; `None` while it goes on.
fn ended(view: &ServiceView, started: &Started) -> Option<(ExitCode, Vec<String>, Outcome)> {
    let rollout = &view.summary.rollout;
    if rollout.number < started.rollout {
        return None;
    }
    let end = |code, state, words: Vec<String>| {
        let outcome = Outcome {
            state,
            reason: rollout.reason.clone(),
            first_failure: rollout.first_failure.iter().map(|it| it.message.clone()).collect(),
            revision: Some(rollout.revision),
        };
        Some((code, words, outcome))
    };
    if rollout.number > started.rollout {
        let words = vec!["superseded by a newer change".to_owned()];
        return end(ExitCode::Done, "superseded", words);
    }
    let ends_by_standing_still =
        matches!(started.change, ChangeKind::Stopped | ChangeKind::Removed);
    if view.summary.status == ServiceStatus::Stopped && !ends_by_standing_still {
        let name = &started.service;
        let words = vec![format!("is stopped: nothing runs until `proffer start {name}`")];
        return end(ExitCode::Done, "stopped", words);
    }
    if let Some(settled) = settled(view, started.change) {
        let words = if started.change == ChangeKind::Stopped {
            "has stopped".to_owned()
        } else {
            format!("{} are ready", view.summary.ready)
        };
        return settled.then(|| end(ExitCode::Done, "done", vec![words])).flatten();
    }
    match rollout.state {
        RolloutState::Rolling | RolloutState::RollingBack => None,
        RolloutState::Succeeded => {
            end(ExitCode::Done, "done", vec![format!("revision {} is up", rollout.revision)])
        }
        RolloutState::Superseded => {
            end(ExitCode::Done, "superseded", vec!["superseded by a newer change".to_owned()])
        }
        RolloutState::Paused | RolloutState::RolledBack => {
            let mut words = vec![format!("failed: {}", rollout.reason)];
            let failure = rollout.first_failure.iter().flat_map(|it| it.message.lines());
            words.extend(failure.map(str::to_owned));
            let is_back = rollout.state == RolloutState::RolledBack;
            end(ExitCode::RolloutFailed, if is_back { "rolled_back" } else { "failed" }, words)
        }
    }
}
