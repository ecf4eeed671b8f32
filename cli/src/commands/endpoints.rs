//! `proffer endpoints`: where a service answers.

use crate::args::{Endpoints, Output};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{Table, json, json_line};
use proffer_service::api::types::EndpointsView;

pub(crate) async fn run(client: &Client, output: Output, args: Endpoints) -> Result<(), Failure> {
    let keep = |mut view: EndpointsView| {
        if let Some(port) = &args.port {
            view.endpoints.retain(|endpoint| endpoint.port_name == *port);
        }
        view
    };
    if args.watch {
        let path = format!("/v1/services/{}/endpoints?watch=1", args.service);
        let mut events = client.events(&path).await?;
        while let Some(event) = events.next().await? {
            if let Ok(view) = serde_json::from_str::<EndpointsView>(&event) {
                json_line(&keep(view));
            }
        }
        return Ok(());
    }
    let view = keep(client.get(&format!("/v1/services/{}/endpoints", args.service)).await?);
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
            it.agent.to_string(),
        ]);
    }
    table.print();
    Ok(())
}
