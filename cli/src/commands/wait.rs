//! `proffer wait`: for scripts.

use super::follow::span;
use crate::args::{Output, Wait};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{json, line};
use proffer_service::api::types::{RolloutState, ServiceName, ServiceStatus, ServiceView};

enum Condition {
    Ready,
    Rollout,
    Deleted,
    Instances(u32),
}

pub(crate) async fn run(client: &Client, output: Output, args: Wait) -> Result<ExitCode, Failure> {
    let condition = match args.condition.as_str() {
        "ready" => Condition::Ready,
        "rollout" => Condition::Rollout,
        "deleted" => Condition::Deleted,
        other => match other.strip_prefix("instances=").and_then(|count| count.parse().ok()) {
            Some(count) => Condition::Instances(count),
            None => {
                let message =
                    format!("--for: {other:?} is not ready, rollout, deleted or instances=N");
                return Err(Failure::new(ExitCode::Usage, message));
            }
        },
    };
    let timeout = span("timeout", &args.timeout)?;
    let code = match tokio::time::timeout(timeout, wait(client, &args.service, &condition)).await {
        Ok(code) => code?,
        Err(_) => ExitCode::Timeout,
    };
    match output {
        Output::Text if code == ExitCode::Done => {
            line(&format!("{}: {}", args.service, args.condition));
        }
        Output::Text => line(&format!("{}: not {}", args.service, args.condition)),
        Output::Json => json(&serde_json::json!({
            "service": args.service, "condition": args.condition, "met": code == ExitCode::Done,
        })),
    }
    Ok(code)
}

async fn wait(
    client: &Client,
    service: &ServiceName,
    condition: &Condition,
) -> Result<ExitCode, Failure> {
    let mut events = client.follow_patiently(&format!("/v1/services/{service}?watch=1"));
    loop {
        match events.next().await {
            Ok(event) => {
                let Ok(view) = serde_json::from_str::<ServiceView>(&event) else { continue };
                if let Some(code) = met(&view, condition)? {
                    return Ok(code);
                }
            }
            Err(failure) if failure.code == ExitCode::NotFound => {
                return match condition {
                    Condition::Deleted => Ok(ExitCode::Done),
                    Condition::Ready | Condition::Rollout | Condition::Instances(_) => Err(failure),
                };
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn met(view: &ServiceView, condition: &Condition) -> Result<Option<ExitCode>, Failure> {
    let it = &view.summary;
    if it.status == ServiceStatus::Stopped
        && matches!(condition, Condition::Ready | Condition::Rollout)
    {
        return Err(Failure::new(ExitCode::Refused, format!("{} is stopped", it.name))
            .hint(format!("proffer start {}", it.name)));
    }
    let met = match condition {
        Condition::Ready => it.ready >= it.instances && it.old == 0,
        Condition::Instances(count) => it.ready == *count && it.old == 0,
        Condition::Deleted => false,
        Condition::Rollout => {
            return Ok(match it.rollout.state {
                RolloutState::Rolling | RolloutState::RollingBack => None,
                RolloutState::Succeeded | RolloutState::Superseded => Some(ExitCode::Done),
                RolloutState::Paused | RolloutState::RolledBack => Some(ExitCode::RolloutFailed),
            });
        }
    };
    Ok(met.then_some(ExitCode::Done))
}
