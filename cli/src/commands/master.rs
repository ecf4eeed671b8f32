//! `proffer master`: flags into settings, then run until a signal.

use crate::args::{self, Global, Listener, Master, StoreKind};
use crate::exit::{ExitCode, Failure};
use crate::{output, shutdown, token};
use proffer_master::store::etcd::EtcdConfig;
use proffer_master::{CoreConfig, Policy, PreemptFor, Preemption, Settings, StoreChoice};
use proffer_net::tls::ClientTlsFiles;
use proffer_net::{ListenConfig, Tokens, local};
use proffer_types::{DurationMs, ResourceName};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a leader's term outlives its last sign of life.
const LEASE_TTL: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, args: Master) -> Result<(), Failure> {
    let span = |flag: &str, text: &str| {
        DurationMs::parse(text)
            .map_err(|why| Failure::new(ExitCode::Usage, format!("--{flag}: {why}")))
    };
    let (tokens, leave) = match &global.token_file {
        Some(path) => (token::given(path)?, None),
        None => {
            let tokens = token::kept(&args.data)?;
            let leave = tokens.first().cloned();
            (tokens, leave)
        }
    };
    let store = match args.store {
        StoreKind::Embedded => StoreChoice::Embedded(args.data.clone()),
        StoreKind::Etcd => StoreChoice::Etcd(EtcdConfig {
            endpoints: args.etcd_endpoints.clone(),
            prefix: format!("{}/", args.etcd_prefix.trim_end_matches('/')),
            tls: None,
            user: None,
            quota_bytes: None,
        }),
    };
    let settings = Settings {
        listen: listen_config(args.listen, &args.listener, tokens)?,
        advertise: args.advertise.clone(),
        store,
        core: CoreConfig {
            agent_unreachable_after: span("agent-timeout", &args.agent_timeout)?,
            offer_ttl: span("offer-ttl", &args.offer_ttl)?,
            inverse_offer_timeout: span("inverse-offer-timeout", &args.inverse_offer_timeout)?,
            gang_prepare_timeout: span("gang-prepare-timeout", &args.gang_prepare_timeout)?,
            policy: Policy {
                fair_excluded: names("fair-exclude", &args.fair_exclude)?,
                scarce: names("scarce", &args.scarce)?,
                scarce_for_need_only: args.scarce_for_need_only,
                held_max_percent: args.offers_held_max,
            },
            preemption: Preemption {
                preempt_for: match args.preempt_for {
                    args::PreemptFor::Nothing => PreemptFor::Nothing,
                    args::PreemptFor::Guarantees => PreemptFor::Guarantees,
                    args::PreemptFor::All => PreemptFor::All,
                },
                after: span("preempt-after", &args.preempt_after)?,
                grace: span("preempt-grace", &args.preempt_grace)?,
            },
            ..CoreConfig::default()
        },
        lease_ttl: LEASE_TTL,
        outward_tls: outward_tls(global),
    };
    let shutdown = shutdown::on_signal(shutdown::LastWords::default());
    let running = proffer_master::start(settings, shutdown)
        .await
        .map_err(|error| Failure::chain("the master does not start", &error))?;
    // Left where programs of this machine look, for as long as this one runs.
    let _left = match leave {
        Some(token) => local::leave(running.address(), &token)
            .map_err(|error| Failure::chain("the token cannot be left", &error))?,
        None => None,
    };
    output::note(&format!("master at {}", running.url()));
    running.ended().await.map_err(|error| Failure::chain("the master ended", &error))
}

fn names(flag: &str, texts: &[String]) -> Result<BTreeSet<ResourceName>, Failure> {
    let read = |text: &String| {
        text.parse().map_err(|why| Failure::new(ExitCode::Usage, format!("--{flag}: {why}")))
    };
    texts.iter().map(read).collect()
}

/// The flags of a listener.
pub(crate) fn listen_config(
    address: SocketAddr,
    flags: &Listener,
    tokens: Tokens,
) -> Result<ListenConfig, Failure> {
    let tls = super::agent::listen_tls(flags)?;
    Ok(ListenConfig { address, tls, insecure: flags.insecure, tokens })
}

/// Whom a program trusts when it calls others.
pub(crate) fn outward_tls(global: &Global) -> Option<ClientTlsFiles> {
    global.tls_ca.as_ref().map(|ca| ClientTlsFiles { ca: ca.clone(), identity: global.identity() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_address_is_one_that_may_be_opened() {
        let address: std::net::SocketAddr =
            crate::args::DEFAULT_ADDRESS.parse().expect("an address");
        assert!(address.ip().is_loopback());
    }
}
