//! The verbs on services: list, look, change. All speak the service framework's API through the
//! master.

use super::events::EventLine;
use super::follow;
use crate::args::{Follow, Get, Output, Remove, Rollback, Scale};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, age, confirm, hanging, json, json_line, line, note, now_ms, time};
use proffer_service::api::types::{
    EventPage, History, InstanceList, InstanceView, RollbackRequest, ScaleSeveralRequest, ScaleTo,
    ServiceEvent, ServiceList, ServiceName, ServiceReply, ServiceStatus, ServiceSummary,
    ServiceView, WaitView, WaitsFor, WhyView,
};
use proffer_types::inverse_offer::VacateReason;
use proffer_types::{Bytes, Milli};
use std::collections::BTreeMap;

pub(crate) async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let list: ServiceList = client.get("/v1/services").await?;
    if output == Output::Json {
        json(&list.services);
        return Ok(());
    }
    let mut table =
        Table::new(&["NAME", "READY", "STATUS", "REV", "CPU", "MEM", "ENDPOINT", "CHANGED"]);
    for it in list.services {
        table.row([
            it.name.to_string(),
            ready_words(&it),
            status_word(it.status).to_owned(),
            it.revision.to_string(),
            Milli(it.request.cpu_milli).to_string(),
            Bytes(it.request.mem_bytes).to_string(),
            it.endpoint.unwrap_or_else(|| "-".to_owned()),
            age(now_ms(), it.updated_at.0),
        ]);
    }
    table.print();
    Ok(())
}

fn ready_words(it: &ServiceSummary) -> String {
    let old = if it.old > 0 { format!(" (+{} old)", it.old) } else { String::new() };
    format!("{}/{}{old}", it.ready, it.instances)
}

fn status_word(status: ServiceStatus) -> &'static str {
    match status {
        ServiceStatus::Running => "running",
        ServiceStatus::Rolling => "rolling",
        ServiceStatus::RollingBack => "rolling back",
        ServiceStatus::Paused => "paused",
        ServiceStatus::Degraded => "degraded",
        ServiceStatus::CrashLooping => "crash looping",
        ServiceStatus::Stopped => "stopped",
        ServiceStatus::Removing => "removing",
    }
}

/// One screen: a sentence, the instances, what is waited for, what happened last.
pub(crate) async fn status(
    client: &Client,
    output: Output,
    service: &ServiceName,
) -> Result<(), Failure> {
    let view: ServiceView = client.get(&format!("/v1/services/{service}")).await?;
    if output == Output::Json {
        json(&view);
        return Ok(());
    }
    let it = &view.summary;
    let reason = if it.reason.is_empty() { String::new() } else { format!(": {}", it.reason) };
    line(&format!("{}  {}{reason}", it.name, status_word(it.status)));
    line(&format!("  revision {}, {} ready{}", it.revision, ready_words(it), next_words(&view)));
    if let Some(failure) = &it.rollout.first_failure {
        line(&format!("  first failure: {}", failure.message.replace('\n', "\n    ")));
    }
    line("");
    instance_table(&view.instances).print();
    print_waits(&view.waits);
    if !view.endpoints.endpoints.is_empty() {
        line("");
        line("endpoints");
        for endpoint in &view.endpoints.endpoints {
            line(&format!(
                "  {}  {}:{}  {}",
                endpoint.port_name, endpoint.address, endpoint.port, endpoint.instance
            ));
        }
    }
    let page: EventPage = client.get(&format!("/v1/services/{service}/events?last=5")).await?;
    if !page.events.is_empty() {
        line("");
        line("events");
        for event in &page.events {
            let ago = age(now_ms(), event.at.0);
            line(&hanging(&format!("  {ago:>5} ago  {}", event_words(event))));
        }
    }
    Ok(())
}

fn next_words(view: &ServiceView) -> String {
    match (view.next.as_str(), view.next_in_ms) {
        ("", _) => String::new(),
        (next, None | Some(0)) => format!("; next: {next}"),
        (next, Some(ms)) => format!("; next: {next} in {:.1}s", ms as f64 / 1000.0),
    }
}

fn print_waits(waits: &[WaitView]) {
    if waits.is_empty() {
        return;
    }
    line("");
    for wait in waits {
        let left = wait.in_ms.map(|ms| format!(" (in {:.1}s)", ms as f64 / 1000.0));
        line(&format!("{}{}", wait.sentence(), left.unwrap_or_default()));
        if let Some(failure) = &wait.last_failure {
            for text in failure.message.lines() {
                line(&format!("    {text}"));
            }
        }
    }
}

/// `ps`: the instances of one service, or of all.
pub(crate) async fn instances(
    client: &Client,
    output: Output,
    service: Option<ServiceName>,
) -> Result<(), Failure> {
    let names: Vec<ServiceName> = match service {
        Some(service) => vec![service],
        None => {
            let list: ServiceList = client.get("/v1/services").await?;
            list.services.into_iter().map(|it| it.name).collect()
        }
    };
    let mut all = Vec::new();
    for name in names {
        let list: InstanceList = client.get(&format!("/v1/services/{name}/instances")).await?;
        all.extend(list.instances);
    }
    match output {
        Output::Json => json(&all),
        Output::Text => instance_table(&all).print(),
    }
    Ok(())
}

/// Its agent is to be emptied, or what that agent said last.
fn remark(it: &InstanceView) -> String {
    match &it.leaves {
        Some(VacateReason::Drain) => "leaves: its agent is drained".to_owned(),
        Some(VacateReason::Maintenance { .. }) => {
            "leaves: its agent is to be maintained".to_owned()
        }
        Some(VacateReason::Preemption { framework, group, .. }) => {
            format!("leaves: room is made for {group} of {framework}")
        }
        None => it.message.lines().next().unwrap_or_default().to_owned(),
    }
}

fn instance_table(instances: &[InstanceView]) -> Table {
    let mut table = Table::new(&[
        "INSTANCE", "SLOT", "REV", "STATE", "READY", "AGENT", "PORTS", "SINCE", "WHY",
    ]);
    for it in instances {
        let ports: Vec<String> =
            it.ports.iter().map(|(name, port)| format!("{name}={port}")).collect();
        table.row([
            it.name.to_string(),
            it.slot.to_string(),
            it.revision.to_string(),
            it.state.map_or("waiting", |state| state.as_str()).to_owned(),
            if it.published {
                "published"
            } else if it.ready == Some(true) {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            it.agent_name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            if ports.is_empty() { "-".to_owned() } else { ports.join(",") },
            it.since.map_or_else(|| "-".to_owned(), |since| age(now_ms(), since.0)),
            remark(it),
        ]);
    }
    table
}

pub(crate) async fn get(client: &Client, output: Output, args: Get) -> Result<(), Failure> {
    let name = args.service;
    let spec = match args.revision {
        None => client.get::<ServiceView>(&format!("/v1/services/{name}")).await?.spec,
        Some(number) => {
            let history: History = client.get(&format!("/v1/services/{name}/history")).await?;
            let found = history.revisions.into_iter().find(|it| u64::from(it.revision) == number);
            found.map(|it| it.spec).ok_or_else(|| {
                Failure::new(ExitCode::NotFound, format!("{name} has no revision {number}"))
                    .hint(format!("proffer history {name}"))
            })?
        }
    };
    match output {
        Output::Json => json(&proffer_service::spec_file::to_file(&name, &spec)),
        Output::Text => line(proffer_service::spec_file::to_yaml(&name, &spec).trim_end()),
    }
    Ok(())
}

pub(crate) async fn history(
    client: &Client,
    output: Output,
    service: &ServiceName,
) -> Result<(), Failure> {
    let history: History = client.get(&format!("/v1/services/{service}/history")).await?;
    if output == Output::Json {
        json(&history.revisions);
        return Ok(());
    }
    let mut table = Table::new(&["REV", "OUTCOME", "DIGEST", "AUTHOR", "WHEN", "MESSAGE"]);
    for it in history.revisions {
        let outcome = it.outcome.map_or_else(|| "-".to_owned(), |state| word(&state));
        let mark = if it.is_target {
            " (present)"
        } else if it.is_good {
            " (good)"
        } else {
            ""
        };
        table.row([
            it.revision.to_string(),
            format!("{outcome}{mark}"),
            it.digest.chars().take(12).collect(),
            it.author,
            time(it.created_at.0),
            match it.rollback_of {
                Some(of) if it.message.is_empty() => format!("rollback to r{of}"),
                Some(_) | None => it.message,
            },
        ]);
    }
    table.print();
    Ok(())
}

/// The stable word of an enum, as its JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text.replace('_', " "),
        _ => "-".to_owned(),
    }
}

async fn post(
    client: &Client,
    path: &str,
    body: Option<&impl serde::Serialize>,
) -> Result<ServiceReply, Failure> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?;
    client.post(path, body.unwrap_or_default()).await
}

pub(crate) async fn rollback(
    client: &Client,
    output: Output,
    args: Rollback,
) -> Result<ExitCode, Failure> {
    let to = match args.to {
        None => None,
        Some(number) => Some(u32::try_from(number).map_err(|_| {
            Failure::new(ExitCode::Usage, format!("--to: {number} is no revision"))
        })?),
    };
    let request = RollbackRequest { to, if_revision: None };
    let reply =
        post(client, &format!("/v1/services/{}/rollback", args.service), Some(&request)).await?;
    follow::report(client, output, reply, &args.following).await
}

pub(crate) async fn scale(
    client: &Client,
    output: Output,
    args: Scale,
) -> Result<ExitCode, Failure> {
    let mut targets = BTreeMap::new();
    for text in &args.targets {
        let (service, to) = target(text)?;
        if targets.insert(ServiceName::new(&service)?, to).is_some() {
            return Err(Failure::new(ExitCode::Usage, format!("{service} is named twice")));
        }
    }
    let reply =
        post(client, "/v1/services/-/scale", Some(&ScaleSeveralRequest { targets })).await?;
    follow::report(client, output, reply, &args.following).await
}

/// `web=5`, `web=+2`, `web=-1`, `web=150%`.
fn target(text: &str) -> Result<(String, ScaleTo), Failure> {
    let wrong = || {
        Failure::new(
            ExitCode::Usage,
            format!("{text:?} is not of the form SERVICE=N, SERVICE=+N, SERVICE=-N or SERVICE=N%"),
        )
    };
    let (service, count) = text.split_once('=').ok_or_else(wrong)?;
    let number = |digits: &str| digits.parse::<u32>().map_err(|_| wrong());
    let to = if let Some(more) = count.strip_prefix('+') {
        ScaleTo::More(number(more)?)
    } else if let Some(fewer) = count.strip_prefix('-') {
        ScaleTo::Fewer(number(fewer)?)
    } else if let Some(percent) = count.strip_suffix('%') {
        ScaleTo::Percent(number(percent)?)
    } else {
        ScaleTo::Count(number(count)?)
    };
    Ok((service.to_owned(), to))
}

pub(crate) async fn restart(
    client: &Client,
    output: Output,
    args: Follow,
) -> Result<ExitCode, Failure> {
    plain_verb(client, output, args, "restart").await
}

pub(crate) async fn stop(
    client: &Client,
    output: Output,
    args: Follow,
) -> Result<ExitCode, Failure> {
    plain_verb(client, output, args, "stop").await
}

pub(crate) async fn start(
    client: &Client,
    output: Output,
    args: Follow,
) -> Result<ExitCode, Failure> {
    plain_verb(client, output, args, "start").await
}

async fn plain_verb(
    client: &Client,
    output: Output,
    args: Follow,
    verb: &str,
) -> Result<ExitCode, Failure> {
    let reply = post(client, &format!("/v1/services/{}/{verb}", args.service), None::<&()>).await?;
    follow::report(client, output, reply, &args.following).await
}

pub(crate) async fn remove(
    client: &Client,
    output: Output,
    args: Remove,
) -> Result<ExitCode, Failure> {
    let question =
        format!("{}: its instances are stopped and its history is deleted. Go on?", args.service);
    if !args.yes && !confirm(&question) {
        return Err(Failure::new(ExitCode::Refused, "not confirmed").hint("add --yes"));
    }
    let reply: ServiceReply = client.delete(&format!("/v1/services/{}", args.service)).await?;
    follow::report(client, output, reply, &args.following).await
}

/// `why SERVICE`: what the service waits for, and why the master has no place for it.
pub(crate) async fn why(
    client: &Client,
    output: Output,
    service: &ServiceName,
) -> Result<(), Failure> {
    let view: WhyView = client.get(&format!("/v1/services/{service}/why")).await?;
    let mut explanations = Vec::new();
    // Only what has no place is the master's to explain.
    if view.waits.iter().any(|wait| wait.waits_for == WaitsFor::Capacity) {
        let framework = super::logs::service_framework(client).await?;
        for group in &view.demand_groups {
            match super::why::ask(client, "demand", &format!("{framework}/{group}")).await {
                Ok(explanation) => explanations.push(explanation),
                // The demand was met between the two questions.
                Err(failure) if failure.code == ExitCode::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    if output == Output::Json {
        json(&serde_json::json!({ "service": view, "demand": explanations }));
        return Ok(());
    }
    line(&format!("{}: {}", view.service, view.summary));
    print_waits(&view.waits);
    for explanation in &explanations {
        super::why::print(explanation);
    }
    Ok(())
}

pub(crate) async fn events(
    client: &Client,
    output: Output,
    service: &ServiceName,
    follow: bool,
) -> Result<(), Failure> {
    let print = |event: &ServiceEvent| match output {
        Output::Json => json_line(&as_line(event)),
        Output::Text => line(&hanging(&format!("{}  {}", time(event.at.0), event_words(event)))),
    };
    let path = format!("/v1/services/{service}/events");
    let page: EventPage = client.get(&path).await?;
    page.events.iter().for_each(print);
    if !follow {
        return Ok(());
    }
    let mut events = client.follow(&format!("{path}?watch=1&after={}", page.cursor)).await?;
    loop {
        let event = events.next().await?;
        match serde_json::from_str::<ServiceEvent>(&event) {
            Ok(event) => print(&event),
            // The framework was started again meanwhile, or this reader was too slow.
            Err(_) => note("some events are not kept any more"),
        }
    }
}

/// In the shape of the cluster's events.
fn as_line(event: &ServiceEvent) -> EventLine {
    let subject = match (&event.instance, event.slot) {
        (Some(instance), _) => instance.to_string(),
        (None, Some(slot)) => format!("{}/{slot}", event.service),
        (None, None) => event.service.to_string(),
    };
    let kind = match serde_json::to_value(event.kind) {
        Ok(serde_json::Value::String(kind)) => kind,
        _ => String::new(),
    };
    EventLine { at_ms: event.at.0, kind, subject, message: event.message.clone() }
}

/// What an event is about, and what happened.
fn event_words(event: &ServiceEvent) -> String {
    match (&event.instance, event.slot) {
        (Some(instance), _) => format!("{instance}: {}", event.message),
        (None, Some(slot)) => format!("{} slot {slot}: {}", event.service, event.message),
        (None, None) => format!("{}: {}", event.service, event.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_scale_have_a_sign_or_a_percent_sign() {
        let to = |text: &str| target(text).map(|(_, to)| to).ok();
        assert_eq!(to("web=5"), Some(ScaleTo::Count(5)));
        assert_eq!(to("web=+2"), Some(ScaleTo::More(2)));
        assert_eq!(to("web=-1"), Some(ScaleTo::Fewer(1)));
        assert_eq!(to("web=150%"), Some(ScaleTo::Percent(150)));
        for bad in ["web", "web=", "web=x", "web=--1", "web=1.5", "web=99999999999"] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }
}
