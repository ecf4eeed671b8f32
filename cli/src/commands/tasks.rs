//! `proffer tasks`: every task of every framework.

use crate::args::{Output, TaskVerb, Tasks};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{Table, age, json, line, now_ms};
use crate::resources::words;
use proffer_proto::pb;
use proffer_types::TaskKey;

pub(crate) async fn run(client: &Client, output: Output, args: Tasks) -> Result<(), Failure> {
    match args.verb {
        None => list(client, output, args.ended).await,
        Some(TaskVerb::Kill(args)) => {
            let key: TaskKey = args.id.parse()?;
            let path = format!("/v1/tasks/{}/{}", key.framework, key.name);
            let answer: pb::OperatorAnswer = client.delete(&path).await?;
            match output {
                Output::Text => line(&answer.message),
                Output::Json => json(&answer),
            }
            Ok(())
        }
    }
}

async fn list(client: &Client, output: Output, ended: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let page: pb::ListTasksResponse =
            client.get(&format!("/v1/tasks?ended={ended}&after={after}")).await?;
        rows.extend(page.tasks);
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    if output == Output::Json {
        json(&rows);
        return Ok(());
    }
    let mut table = Table::new(&["ID", "STATE", "READY", "AGENT", "USES", "SINCE", "WHY"]);
    for row in rows {
        let ready = match row.ready {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        table.row([
            row.id,
            row.state,
            ready.to_owned(),
            row.agent_name,
            words(&row.resources),
            age(now_ms(), row.at_ms),
            row.message.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    table.print();
    Ok(())
}
