//! Follows rollouts to their end: a line for each change, and the exit code that says how it ended.

use super::deploy::describe;
use crate::args::{Following, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{json, line};
use proffer_service::api::types::{ChangeKind, RolloutState, ServiceReply, ServiceView};
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

/// How long masters that do not answer are asked again while something is followed.
const OUTAGE_MAX: Duration = Duration::from_secs(30);

/// How long to wait when nobody says: the default progress deadline and a minute.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(11 * 60);

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
    let code = if following.detach {
        ExitCode::Done
    } else {
        follow_all(client, output, &started, timeout(following)?).await?
    };
    if output == Output::Json {
        json(&reply);
    }
    Ok(code)
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
) -> Result<ExitCode, Failure> {
    let until = Instant::now() + timeout;
    let mut worst = ExitCode::Done;
    for it in started {
        let left = until.saturating_duration_since(Instant::now());
        let code = match tokio::time::timeout(left, follow(client, output, it)).await {
            Ok(ended) => ended?,
            Err(_) => {
                if output == Output::Text {
                    line(&format!(
                        "{:<16} still rolling; watch it with: proffer status {}",
                        it.service, it.service
                    ));
                }
                ExitCode::Timeout
            }
        };
        if worst == ExitCode::Done {
            worst = code;
        }
    }
    Ok(worst)
}

async fn follow(client: &Client, output: Output, started: &Started) -> Result<ExitCode, Failure> {
    let mut last = String::new();
    let mut heard = Instant::now();
    loop {
        let path = format!("/v1/services/{}?watch=1", started.service);
        let mut events = match client.events(&path).await {
            Ok(events) => events,
            // A service that is being removed ends by not being there.
            Err(failure) if failure.code == ExitCode::NotFound => return Ok(ExitCode::Done),
            Err(failure) if failure.code == ExitCode::Error && heard.elapsed() < OUTAGE_MAX => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        heard = Instant::now();
        while let Ok(Some(event)) = events.next().await {
            let Ok(view) = serde_json::from_str::<ServiceView>(&event) else { continue };
            heard = Instant::now();
            let now = progress(&view);
            if output == Output::Text && now != last {
                line(&format!("{:<16} {now}", started.service));
                last = now;
            }
            if let Some(code) = ended(&view, started, output) {
                return Ok(code);
            }
        }
        // The stream broke: the master or the framework restarts. Ask again.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One line on where a service stands.
pub(crate) fn progress(view: &ServiceView) -> String {
    let it = &view.summary;
    let old = if it.old > 0 { format!(", {} old", it.old) } else { String::new() };
    let waits = match view.slots.first() {
        Some(slot) => format!("; slot {}: {}", slot.slot, slot.reason),
        None => String::new(),
    };
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

fn ended(view: &ServiceView, started: &Started, output: Output) -> Option<ExitCode> {
    let rollout = &view.summary.rollout;
    if rollout.number < started.rollout {
        return None;
    }
    if rollout.number == started.rollout
        && let Some(settled) = settled(view, started.change)
    {
        return settled.then_some(ExitCode::Done);
    }
    let say = |text: String| {
        if output == Output::Text {
            line(&format!("{:<16} {text}", started.service));
        }
    };
    if rollout.number > started.rollout {
        say("superseded by a newer change".to_owned());
        return Some(ExitCode::Done);
    }
    match rollout.state {
        RolloutState::Rolling | RolloutState::RollingBack => None,
        RolloutState::Succeeded => {
            say(format!("revision {} is up", rollout.revision));
            Some(ExitCode::Done)
        }
        RolloutState::Superseded => {
            say("superseded by a newer change".to_owned());
            Some(ExitCode::Done)
        }
        RolloutState::Paused | RolloutState::RolledBack => {
            say(format!("failed: {}", rollout.reason));
            if let Some(failure) = &rollout.first_failure {
                say(failure.message.clone());
            }
            Some(ExitCode::RolloutFailed)
        }
    }
}
