//! `proffer deploy` and `proffer validate`: a file in, services out.

use super::follow::{self, Started};
use crate::args::{Deploy, Output, Validate};
use crate::client::Client;
use crate::exit::{ExitCode, Failure, Fault};
use crate::output::{json, line};
use crate::percent;
use proffer_service::api::types::{ChangeKind, ServiceReply};
use proffer_service_core::spec::Diagnostic;
use std::io::Read;
use std::path::Path;

pub(crate) async fn run(
    client: &Client,
    output: Output,
    args: Deploy,
) -> Result<ExitCode, Failure> {
    let path = args.file.or(args.positional).unwrap_or_default();
    let text = read(&path)?;
    // Checked here first: a mistake is shown with its place in this very file.
    check(&path, &text)?;
    let reply = deploy(client, &text, args.if_revision, &args.message).await?;
    follow::report(client, output, reply, &args.following).await
}

/// Sends the text of a file.
pub(crate) async fn deploy(
    client: &Client,
    text: &str,
    if_revision: Option<u64>,
    message: &str,
) -> Result<ServiceReply, Failure> {
    let mut query = format!("message={}", percent::encode(message));
    if let Some(revision) = if_revision {
        query.push_str(&format!("&if_revision={revision}"));
    }
    client.post(&format!("/v1/services?{query}"), text.as_bytes().to_vec()).await
}

pub(crate) fn validate(output: Output, args: &Validate) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let services = check(&args.file, &text)?;
    match output {
        Output::Text => line(&format!("{}: {} is well", name(&args.file), services.join(", "))),
        Output::Json => json(&serde_json::json!({ "services": services })),
    }
    Ok(())
}

/// The names of the services of a file that is well.
pub(crate) fn check(path: &Path, text: &str) -> Result<Vec<String>, Failure> {
    match proffer_service::spec_file::parse(text) {
        Ok(file) => Ok(file.services.keys().map(ToString::to_string).collect()),
        Err(faults) => {
            let count = faults.len();
            let message =
                format!("{}: {count} fault{}", name(path), if count == 1 { "" } else { "s" });
            let fault = |it: Diagnostic| Fault {
                shown: proffer_service::spec_file::render(&it, &name(path), text),
                file: name(path),
                line: it.mark.line,
                column: it.mark.column,
                key: it.field,
                message: it.message,
                hint: it.hint,
            };
            Err(Failure::new(ExitCode::Refused, message)
                .hint("docs/service-spec.md lists all fields")
                .faults(faults.into_iter().map(fault).collect()))
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let wrong = |error: std::io::Error| {
        Failure::new(ExitCode::Refused, format!("{}: cannot be read", name(path)))
            .cause(error.to_string())
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(wrong)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(wrong)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// What was done to each service, for people; and the rollouts that carry it out.
pub(crate) fn describe(reply: &ServiceReply) -> Vec<Started> {
    reply
        .services
        .iter()
        .map(|change| {
            let done = match change.change {
                ChangeKind::Created => format!("created, revision {}", change.revision),
                ChangeKind::Updated => match change.previous {
                    Some(previous) => format!("revision {previous} -> {}", change.revision),
                    None => format!("revision {}", change.revision),
                },
                ChangeKind::Unchanged => "unchanged".to_owned(),
                ChangeKind::Scaled => format!("scaled to {}", change.instances),
                ChangeKind::Retried => format!("revision {} is tried again", change.revision),
                ChangeKind::RolledBack => format!("rolled back, revision {}", change.revision),
                ChangeKind::Restarted => "restarting".to_owned(),
                ChangeKind::Stopped => "stopping".to_owned(),
                ChangeKind::Started => format!("starting {} instances", change.instances),
                ChangeKind::Removed => "removing".to_owned(),
            };
            Started {
                service: change.service.to_string(),
                rollout: change.rollout,
                change: change.change,
                done,
            }
        })
        .collect()
}
