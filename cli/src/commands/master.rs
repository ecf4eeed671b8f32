//! `proffer master`: flags into settings, then run until a signal.

use crate::args::{Global, Listener, Master, StoreKind};
use crate::exit::{ExitCode, Failure};
use crate::{output, runtime_dir, shutdown, token};
use proffer_master::store::etcd::EtcdConfig;
use proffer_master::{CoreConfig, Settings, StoreChoice};
use proffer_net::tls::{ClientTlsFiles, TlsFiles};
use proffer_net::{ListenConfig, Token, Tokens};
use proffer_types::DurationMs;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a leader's term outlives its last sign of life.
const LEASE_TTL: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, args: Master) -> Result<(), Failure> {
    let span = |flag: &str, text: &str| {
        DurationMs::parse(text).map_err(|why| Failure::new(ExitCode::Usage, format!("--{flag}: {why}")))
    };
    let (tokens, _published) = tokens(global, args.listen)?;
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
        store,
        core: CoreConfig {
            agent_unreachable_after: span("agent-timeout", &args.agent_timeout)?,
            offer_ttl: span("offer-ttl", &args.offer_ttl)?,
            ..CoreConfig::default()
        },
        lease_ttl: LEASE_TTL,
        outward_tls: outward_tls(global),
    };
    let shutdown = shutdown::on_signal();
    let running = proffer_master::start(settings, shutdown)
        .await
        .map_err(|error| Failure::chain("the master does not start", &error))?;
    output::note(&format!("master at {}", running.url()));
    running.ended().await.map_err(|error| Failure::chain("the master ended", &error))
}

/// The token that a listener asks for: from the file that the flags name, or a new one that is left
/// where programs of this machine look.
pub(crate) fn tokens(
    global: &Global,
    listen: SocketAddr,
) -> Result<(Tokens, Option<token::Published>), Failure> {
    let wrong = |error: proffer_net::TokenError| Failure::new(ExitCode::Error, error.to_string());
    if let Some(path) = &global.token_file {
        return proffer_net::token::read_or_create(path, "operator").map(|it| (it, None)).map_err(wrong);
    }
    let token = Token::random().map_err(wrong)?;
    runtime_dir::create()?;
    let published = token::publish(listen, token.reveal())?;
    Ok((Tokens::one("local", token), Some(published)))
}

/// The flags of a listener.
pub(crate) fn listen_config(
    address: SocketAddr,
    flags: &Listener,
    tokens: Tokens,
) -> Result<ListenConfig, Failure> {
    let tls = match (&flags.tls_cert, &flags.tls_key, &flags.tls_client_ca) {
        (Some(certificate), Some(key), Some(client_ca)) => Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: client_ca.clone(),
        }),
        (None, None, None) => None,
        _ => {
            let message = "--tls-cert, --tls-key and --tls-client-ca belong together";
            return Err(Failure::new(ExitCode::Usage, message));
        }
    };
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
        let address: std::net::SocketAddr = crate::args::DEFAULT_ADDRESS.parse().expect("an address");
        assert!(address.ip().is_loopback());
    }
}
