//! `proffer roles`: who has which part, what is kept for whom, and who may have how much.

use crate::args::{Output, RoleSet, RoleVerb, Roles};
use crate::client::Client;
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, confirm, json, line};
use crate::resources::{domain, quantities, words};
use proffer_proto::pb;
use proffer_types::role::RoleConfig;
use proffer_types::{Milli, Quantities, RoleName};

pub(crate) async fn run(client: &Client, output: Output, args: Roles) -> Result<(), Failure> {
    match args.verb {
        None => list(client, output).await,
        Some(RoleVerb::Set(set)) => self::set(client, output, set).await,
    }
}

async fn set(client: &Client, output: Output, args: RoleSet) -> Result<(), Failure> {
    let role: RoleName = args.role.parse()?;
    let row = rows(client).await?.into_iter().find(|row| row.name == args.role);
    let before = row.as_ref().and_then(|row| row.config.clone()).unwrap_or(default());
    let mut config = before.clone();
    if let Some(weight) = &args.weight {
        let weight = Milli::parse(weight).map_err(|why| usage("--weight", why))?;
        config.weight_milli = weight.0;
    }
    for (flag, text, list) in [
        ("--guarantee", &args.guarantee, &mut config.guarantee),
        ("--limit", &args.limit, &mut config.limit),
    ] {
        if let Some(text) = text {
            let amounts: Quantities = text.parse().map_err(|why| usage(flag, why))?;
            *list = proffer_proto::convert::quantities_to_pb(amounts);
        }
    }
    if let Some(question) = row.and_then(|row| question(&row, &before, &config))
        && !args.yes
        && !confirm(&question)
    {
        return Err(Failure::new(ExitCode::Refused, question).hint("add --yes"));
    }
    let body = serde_json::to_vec(&config)
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?;
    let answer: pb::OperatorAnswer = client.put(&format!("/v1/roles/{role}"), body).await?;
    match output {
        Output::Text => line(&answer.message),
        Output::Json => json(&answer),
    }
    Ok(())
}

fn default() -> pb::RoleConfig {
    RoleConfig::default().into()
}

fn usage(flag: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {why}"))
}

/// What the role loses, if that is something: room below its use, or what is kept for it.
fn question(row: &pb::RoleRow, before: &pb::RoleConfig, after: &pb::RoleConfig) -> Option<String> {
    let mut losses = Vec::new();
    let consumed = domain(&row.consumed);
    for (name, limit) in quantities(&after.limit).iter() {
        let has = consumed.scalar(name);
        if has > limit && quantities(&before.limit).get(name) != Some(limit) {
            let show = |value| name.display_scalar(value);
            losses.push(format!(
                "it uses {name} {}, above the new limit of {}: its offers are taken back, no task is \
                 ended, and it gets no more",
                show(has),
                show(limit)
            ));
        }
    }
    let kept = quantities(&after.guarantee);
    for (name, guarantee) in quantities(&before.guarantee).iter() {
        let left = kept.get(name).unwrap_or(0);
        if left < guarantee {
            let show = |value| name.display_scalar(value);
            losses.push(format!(
                "{name} {} of {} are no longer kept for it",
                show(guarantee - left),
                show(guarantee)
            ));
        }
    }
    let role = &row.name;
    (!losses.is_empty()).then(|| format!("role {role}: {}. Go on?", losses.join("; ")))
}

async fn rows(client: &Client) -> Result<Vec<pb::RoleRow>, Failure> {
    let page: pb::ListRolesResponse = client.get("/v1/roles?page_size=10000").await?;
    Ok(page.roles)
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let rows = rows(client).await?;
    if output == Output::Json {
        json(&rows);
        return Ok(());
    }
    let mut table = Table::new(&[
        "ROLE",
        "WEIGHT",
        "SHARE",
        "USES",
        "GUARANTEE",
        "OWED",
        "LIMIT",
        "FRAMEWORKS",
    ]);
    for row in rows {
        let config = row.config.unwrap_or(default());
        let (whole, part) = (row.dominant_share_ppm / 10_000, row.dominant_share_ppm / 1000 % 10);
        table.row([
            row.name,
            Milli(config.weight_milli).to_string(),
            format!("{whole}.{part}%"),
            words(&row.consumed),
            or_dash(&config.guarantee),
            words(&row.owed),
            or_dash(&config.limit),
            row.frameworks.join(","),
        ]);
    }
    table.print();
    Ok(())
}

/// `cpus:4;gpus:0`.
fn or_dash(list: &[pb::Resource]) -> String {
    let amounts = quantities(list);
    if amounts.is_empty() { "-".to_owned() } else { amounts.to_string() }
}
