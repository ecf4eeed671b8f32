//! `proffer agent`: flags into settings, then run until a signal. Tasks run on.

use super::master::outward_tls;
use crate::args::{Agent, Global, Listener};
use crate::exit::{ExitCode, Failure};
use crate::{output, shutdown, token};
use proffer_agent::Config;
use proffer_agent::config::parse_isolation;
use proffer_net::tls::TlsFiles;
use proffer_types::attributes::parse_attributes;
use proffer_types::{AgentName, Resources};

pub(crate) async fn run(global: &Global, args: Agent) -> Result<(), Failure> {
    let usage = |flag: &str, why: String| Failure::new(ExitCode::Usage, format!("--{flag}: {why}"));
    let mut config = Config::new(global.masters.clone(), args.work_dir.clone());
    config.listen = args.listen;
    config.name = args.name.as_deref().map(AgentName::new).transpose()?;
    config.address = args.address.clone();
    config.run_dir = args.run_dir.clone();
    config.resources = match &args.resources {
        Some(text) => {
            Some(text.parse::<Resources>().map_err(|error| usage("resources", error.to_string()))?)
        }
        None => None,
    };
    config.attributes = parse_attributes(&args.attributes)?;
    config.isolation = parse_isolation(&args.isolation).map_err(|why| usage("isolation", why))?;
    config.cgroup_root = args.cgroup_root.clone();
    config.proof = token::shown(global)?;
    config.master_tls = outward_tls(global);
    config.listen_tls = listen_tls(&args.listener)?;
    config.insecure = args.listener.insecure;
    let stop = shutdown::on_signal(shutdown::LastWords::default());
    let mut running = proffer_agent::start(config)
        .await
        .map_err(|error| Failure::chain("the agent does not start", &error))?;
    say_withheld(running.withheld());
    output::note(&format!("agent: sandboxes at {}", running.api_address()));
    tokio::select! {
        () = stop.cancelled() => running.stop().await,
        ended = running.wait() => ended,
    }
    .map_err(|error| Failure::chain("the agent ended", &error))
}

/// Says in one line what tasks do without, why, and what to do.
pub(crate) fn say_withheld(reasons: &[String]) {
    if reasons.is_empty() {
        return;
    }
    output::note(&format!(
        "tasks run without namespaces of their own and without limits on memory, cpu and processes; \
         for those run it as root where control groups can be written ({})",
        reasons.join("; ")
    ));
}

/// The certificates of a listener.
pub(crate) fn listen_tls(flags: &Listener) -> Result<Option<TlsFiles>, Failure> {
    match (&flags.tls_cert, &flags.tls_key, &flags.tls_client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: client_ca.clone(),
        })),
        (None, None, None) => Ok(None),
        _ => Err(Failure::new(
            ExitCode::Usage,
            "--tls-cert, --tls-key and --tls-client-ca belong together",
        )),
    }
}
