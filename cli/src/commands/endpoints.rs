//! `proffer endpoints`: where a service answers.

use crate::args::{Endpoints, Output};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, json, json_line, note};
use proffer_service::api::types::{EndpointsView, ServiceView};

pub(crate) async fn run(client: &Client, output: Output, args: Endpoints) -> Result<(), Failure> {
    let keep = |mut view: EndpointsView| {
        if let Some(port) = &args.port {
            view.endpoints.retain(|endpoint| endpoint.port_name == *port);
        }
        view
    };
    if args.watch {
        let path = format!("/v1/services/{}/endpoints?watch=1", args.service);
        let mut events = client.follow(&path).await?;
        loop {
            if let Ok(view) = serde_json::from_str::<EndpointsView>(&events.next().await?) {
                json_line(&keep(view));
            }
        }
    }
    let view = keep(client.get(&format!("/v1/services/{}/endpoints", args.service)).await?);
    if view.endpoints.is_empty() {
        let whole: ServiceView = client.get(&format!("/v1/services/{}", args.service)).await?;
        note(&why_none(&whole, args.port.as_deref())?);
    }
    if !view.complete {
        note("some agents have not reported yet: what serves on them is missing here");
    }
    if output == Output::Json {
        json(&view);
        return Ok(());
    }
    let mut table = Table::new(&["INSTANCE", "PORT", "ADDRESS", "REV", "AGENT"]);
    for it in view.endpoints {
        let address = format!("{}:{}", it.address, it.port);
        table.row([
            it.instance.to_string(),
            it.port_name,
            address,
            it.revision.to_string(),
            it.agent_name.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

/// An empty table does not say whether there is nothing to reach, or nothing yet.
fn why_none(view: &ServiceView, port: Option<&str>) -> Result<String, Failure> {
    let name = &view.summary.name;
    let ports: Vec<&str> = view.spec.ports.keys().map(String::as_str).collect();
    match port {
        Some(port) if !ports.contains(&port) => {
            let known = match ports.as_slice() {
                [] => "it has none".to_owned(),
                ports => format!("it has {}", ports.join(", ")),
            };
            Err(Failure::new(ExitCode::NotFound, format!("{name} has no port {port:?}; {known}")))
        }
        _ if ports.is_empty() => {
            Ok(format!("{name} has no `ports:`, so there is nothing to connect to"))
        }
        Some(_) | None => Ok(format!("no instance of {name} is ready")),
    }
}
