//! `proffer version`: this program's and the master's.

use crate::args::Output;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::{json, line};
use serde_json::Value;

pub(crate) async fn run(client: Result<Client, Failure>, output: Output) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    // A master that does not answer is no error here: the program's own version is known.
    let master = match client {
        Ok(client) => client.get::<Value>("/openapi.json").await.ok(),
        Err(_) => None,
    };
    let master =
        master.and_then(|document| document["info"]["version"].as_str().map(str::to_owned));
    match output {
        Output::Text => {
            line(&format!("proffer {own}"));
            line(&format!("master  {}", master.as_deref().unwrap_or("not reached")));
        }
        Output::Json => json(&serde_json::json!({ "proffer": own, "master": master })),
    }
    Ok(())
}
