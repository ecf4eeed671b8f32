//! `proffer events`: what happened, in the cluster or to one service.

use crate::args::{Events, Output};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{hanging, json_line, line, time};
use proffer_proto::pb;

pub(crate) async fn run(client: &Client, output: Output, args: Events) -> Result<(), Failure> {
    match (&args.service, args.follow) {
        (Some(service), follow) => super::services::events(client, output, service, follow).await,
        (None, true) => follow(client, output).await,
        (None, false) => list(client, output).await,
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let mut page: pb::ListEventsResponse = client.get("/v1/events?page_size=200").await?;
    page.events.reverse();
    page.events.iter().for_each(|row| print(output, row));
    Ok(())
}

async fn follow(client: &Client, output: Output) -> Result<(), Failure> {
    let mut events = client.follow("/v1/watch?kinds=event").await?;
    loop {
        let event = events.next().await?;
        let Ok(frame) = serde_json::from_str::<pb::WatchFrame>(&event) else { continue };
        for change in frame.changes {
            let Some(pb::change::Kind::Event(row)) = change.kind else { continue };
            print(output, &row);
        }
    }
}

/// An event as JSON, of the cluster or of a service: one object a line.
#[derive(serde::Serialize)]
pub(crate) struct EventLine {
    pub(crate) at_ms: u64,
    pub(crate) kind: String,
    /// An id, a name, or `SERVICE/SLOT`.
    pub(crate) subject: String,
    pub(crate) message: String,
}

fn print(output: Output, row: &pb::EventRow) {
    let pb::EventRow { at_ms, kind, subject, message } = row.clone();
    match output {
        Output::Text => {
            line(&hanging(&format!("{}  {kind:<24} {subject:<16} {message}", time(at_ms))));
        }
        Output::Json => json_line(&EventLine { at_ms, kind, subject, message }),
    }
}
