//! `proffer framework service`: flags into settings, then run until a signal. Instances run on.

use super::agent::listen_tls;
use crate::args::{BundledFramework, Framework, Global};
use crate::client;
use crate::exit::{ExitCode, Failure};
use crate::{output, shutdown};
use proffer_net::{ListenConfig, Token, Tokens};
use proffer_sdk::{Standing, Status};
use proffer_service::ServiceOptions;
use proffer_types::{FrameworkName, RoleName};
use tokio::sync::watch;

pub(crate) async fn run(global: &Global, args: Framework) -> Result<(), Failure> {
    let BundledFramework::Service(args) = args.framework;
    let wrong = |error: proffer_net::TokenError| Failure::new(ExitCode::Error, error.to_string());
    // For whoever asks here directly; the master shows a capability of its own.
    let endpoint = client::endpoint(global)?;
    let token = match endpoint.token() {
        Some(token) => token,
        None => Token::random().map_err(wrong)?,
    };
    let options = ServiceOptions {
        sdk: proffer_sdk::Options::new(endpoint),
        listen: ListenConfig {
            address: args.listen,
            tls: listen_tls(&args.listener)?,
            insecure: args.listener.insecure,
            tokens: Tokens::one("cluster", token),
        },
        name: FrameworkName::new(&args.name)?,
        role: RoleName::new(&args.role)?,
        announce: args.announce.clone(),
        failover_timeout: None,
    };
    let stop = shutdown::on_signal(shutdown::LastWords::default());
    let running = proffer_service::start(options)
        .await
        .map_err(|error| Failure::chain("the service framework does not start", &error))?;
    output::note(&format!("service framework at {}", running.api_url()));
    let torn_down = tokio::select! {
        () = stop.cancelled() => false,
        () = running.ended() => true,
        () = tell(running.status()) => true,
    };
    running.shutdown().await;
    if torn_down {
        // As an operator wanted it: no failure, and nothing to start again for.
        output::note("the framework was torn down");
    }
    Ok(())
}

/// Says whenever this replica begins to decide, or to wait for another one's end.
async fn tell(mut status: watch::Receiver<Status>) {
    let mut told = Standing::Disconnected;
    loop {
        let standing = status.borrow_and_update().standing;
        if standing != told {
            match standing {
                Standing::Active => output::note("active: this replica decides"),
                Standing::StandingBy => output::note("standby: another replica decides"),
                Standing::Disconnected
                | Standing::Connecting
                | Standing::Loading
                | Standing::Ended => {}
            }
            told = standing;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
