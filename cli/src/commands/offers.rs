//! `proffer offers`: what is offered right now.

use crate::args::Output;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{Table, json};
use crate::resources::words;
use proffer_proto::pb;

pub(crate) async fn run(client: &Client, output: Output) -> Result<(), Failure> {
    let page: pb::ListOffersResponse = client.get("/v1/offers?page_size=10000").await?;
    if output == Output::Json {
        json(&page.offers);
        return Ok(());
    }
    let mut table = Table::new(&["ID", "FRAMEWORK", "ROLE", "AGENT", "FOR", "RESOURCES"]);
    for row in page.offers {
        let wanted = match &row.group {
            Some(group) => format!("{} x {group}", row.count),
            None => "anything".to_owned(),
        };
        table.row([row.id, row.framework, row.role, row.agent_name, wanted, words(&row.resources)]);
    }
    table.print();
    Ok(())
}
