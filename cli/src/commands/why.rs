//! `proffer why`: the funnel behind something that waits.

use crate::args::{Output, Why};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{json, line};
use proffer_proto::pb;
use proffer_service::api::types::ServiceName;
use proffer_types::{AgentId, FrameworkId, TaskKey};

pub(crate) async fn run(client: &Client, output: Output, args: Why) -> Result<(), Failure> {
    let (text, kind) = match args.subject.as_slice() {
        [text] => (text.as_str(), None),
        [kind, text] => (text.as_str(), Some(kind.as_str())),
        _ => return Err(usage("asks about one thing")),
    };
    let kind = if let Some(kind) = kind {
        match kind {
            "framework" | "agent" | "task" | "demand" | "role" => kind,
            "service" => {
                return super::services::why(client, output, &ServiceName::new(text)?).await;
            }
            other => return Err(usage(&format!("{other:?} is no kind of thing that waits"))),
        }
    } else if text.parse::<FrameworkId>().is_ok() {
        "framework"
    } else if text.parse::<AgentId>().is_ok() {
        "agent"
    } else if text.parse::<TaskKey>().is_ok() {
        "task"
    } else {
        return super::services::why(client, output, &ServiceName::new(text)?).await;
    };
    let explanation = match ask(client, kind, text).await {
        // A demand group is named as a task is.
        Err(failure) if kind == "task" && failure.code == ExitCode::NotFound => {
            ask(client, "demand", text).await.map_err(|_| failure)?
        }
        other => other?,
    };
    match output {
        Output::Text => print(&explanation),
        Output::Json => json(&explanation),
    }
    Ok(())
}

fn usage(why: &str) -> Failure {
    Failure::new(
        ExitCode::Usage,
        format!("{why}: name a service, task, demand group, framework or agent, or role NAME"),
    )
}

/// Asks the master.
pub(crate) async fn ask(
    client: &Client,
    kind: &str,
    subject: &str,
) -> Result<pb::Explanation, Failure> {
    let answer: pb::WhyResponse = client.get(&format!("/v1/why/{kind}/{subject}")).await?;
    Ok(answer.explanation.unwrap_or_default())
}

/// The explanation as people read it.
pub(crate) fn print(explanation: &pb::Explanation) {
    line(&format!("{} {}: {}", explanation.kind, explanation.subject, explanation.summary));
    let width =
        explanation.funnel.iter().map(|step| step.remaining.to_string().len()).max().unwrap_or(1);
    for (index, step) in explanation.funnel.iter().enumerate() {
        let arrow = if index == 0 { "  " } else { "->" };
        line(&format!("  {arrow} {:>width$}  {}", step.remaining, step.rule));
    }
    if !explanation.nearest_miss.is_empty() {
        line(&format!("  nearest: {}", explanation.nearest_miss));
    }
    for hint in &explanation.hints {
        line(&format!("  try: {hint}"));
    }
}
