//! `proffer roles`: who has which part.

use crate::args::{Output, RoleVerb, Roles};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, json, line};
use crate::resources::words;
use proffer_proto::pb;
use proffer_types::{Milli, RoleName};

pub(crate) async fn run(client: &Client, output: Output, args: Roles) -> Result<(), Failure> {
    match args.verb {
        None => list(client, output).await,
        Some(RoleVerb::Set { role, weight }) => {
            let role: RoleName = role.parse()?;
            let weight = Milli::parse(&weight)
                .map_err(|why| Failure::new(ExitCode::Usage, format!("--weight: {why}")))?;
            let config =
                pb::RoleConfig { weight_milli: weight.0, guarantee: Vec::new(), limit: Vec::new() };
            let body = serde_json::to_vec(&config)
                .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?;
            let answer: pb::OperatorAnswer = client.put(&format!("/v1/roles/{role}"), body).await?;
            match output {
                Output::Text => line(&answer.message),
                Output::Json => json(&answer),
            }
            Ok(())
        }
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let page: pb::ListRolesResponse = client.get("/v1/roles?page_size=10000").await?;
    if output == Output::Json {
        json(&page.roles);
        return Ok(());
    }
    let mut table = Table::new(&["ROLE", "WEIGHT", "SHARE", "USES", "FRAMEWORKS"]);
    for row in page.roles {
        let weight = row.config.as_ref().map_or(1000, |config| config.weight_milli);
        let (whole, part) = (row.dominant_share_ppm / 10_000, row.dominant_share_ppm / 1000 % 10);
        table.row([
            row.name,
            Milli(weight).to_string(),
            format!("{whole}.{part}%"),
            words(&row.allocated),
            row.frameworks.join(","),
        ]);
    }
    table.print();
    Ok(())
}
