//! `proffer dev`: master, agents and the service framework in one process on loopback. The same code as
//! in production; nothing is mocked.

use super::follow::follow_all;
use crate::args::{Dev, Global, Output};
use crate::client::Client;
use crate::dev_place::{self, Place};
use crate::exit::{ExitCode, Failure};
use crate::output::{json, note};
use crate::{shutdown, token};
use proffer_agent::machine::Machine;
use proffer_agent::{Config as AgentConfig, RunningAgent};
use proffer_master::{CoreConfig, Settings, StoreChoice};
use proffer_net::{Endpoint, ListenConfig, Proof, Token, Tokens, local};
use proffer_service::ServiceOptions;
use proffer_types::resources::{Resource, ResourceKey};
use proffer_types::{
    AgentName, FrameworkName, Quantity, Ranges, ResourceName, Resources, RoleName,
};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long everything together may take to be ready before something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// All parts, in the order in which they end.
struct Parts {
    service: proffer_service::Running,
    agents: Vec<RunningAgent>,
    master: proffer_master::Running,
    master_stop: CancellationToken,
}

pub(crate) async fn run(global: &Global, args: Dev) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let last_words = shutdown::LastWords::default();
    let stop = shutdown::on_signal(last_words.clone());
    if !args.listen.ip().is_loopback() {
        return Err(Failure::new(
            ExitCode::Refused,
            format!("dev listens on loopback only, not on {}", args.listen),
        )
        .hint("run `proffer master`, `proffer agent` and `proffer framework service`"));
    }
    // Read first: a file that is not well should not bring up a cluster.
    let file = args.deploy.as_deref().map(read_checked).transpose()?;
    let mut place = dev_place::take(args.data.as_deref(), args.agents)?;
    let (parts, token, left) = match start(&args, &mut place).await {
        Ok(started) => started,
        Err(failure) => {
            place.withdraw();
            return Err(failure);
        }
    };
    last_words.set(format!(
        "left behind: what runs in {}; end it with: proffer cleanup --force",
        place.record.data.display()
    ));
    let endpoint = Endpoint::parse(parts.master.url())
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?
        .with_token(Some(token.clone()));
    let client = Client::of(&endpoint);
    let outcome = tokio::select! {
        outcome = serve(global, &args, &client, &parts, &token, file, began) => outcome,
        () = stop.cancelled() => Ok(ExitCode::Done),
    };
    let keep = args.keep;
    if outcome.is_ok() {
        note(if keep { "leaving the containers running" } else { "ending the tasks" });
    }
    end(parts, keep).await;
    drop(left);
    place.give_back(keep);
    outcome
}

async fn start(
    args: &Dev,
    place: &mut Place,
) -> Result<(Parts, Token, Option<local::Left>), Failure> {
    let tokens = token::kept(&place.record.data.join("master"))?;
    let token = tokens.first().cloned().expect("a file of tokens has one");
    let parts = start_parts(args, place, &tokens, &token).await?;
    let left = local::leave(parts.master.address(), &token)
        .map_err(|error| Failure::chain("the token cannot be left", &error))?;
    for at in place.given_up() {
        note(&format!("{}: is not one of this run's agents: ending its tasks", at.name));
        super::cleanup::end_agent(&at, false).await?;
    }
    place.forget_given_up()?;
    Ok((parts, token, left))
}

async fn start_parts(
    args: &Dev,
    place: &Place,
    tokens: &Tokens,
    token: &Token,
) -> Result<Parts, Failure> {
    let master_stop = CancellationToken::new();
    let listen =
        |address| ListenConfig { address, tls: None, insecure: false, tokens: tokens.clone() };
    let settings = Settings {
        listen: listen(args.listen),
        store: StoreChoice::Embedded(place.record.data.join("master")),
        core: CoreConfig::default(),
        lease_ttl: LEASE_TTL,
        outward_tls: None,
    };
    let master = proffer_master::start(settings, master_stop.clone()).await.map_err(|error| {
        Failure::chain("the master does not start", &error)
            .hint("another dev may use the port: choose one with --listen 127.0.0.1:PORT")
    })?;
    let mut agents = Vec::new();
    for (number, at) in place.record.agents.iter().enumerate() {
        let mut config = AgentConfig::new(vec![master.address().to_string()], at.work_dir.clone());
        config.name = Some(AgentName::new(&at.name)?);
        config.run_dir = Some(at.run_dir.clone());
        config.cgroup_root = Some(at.cgroup_root.clone());
        config.enter_cgroup_leaf = false;
        config.proof = Proof::Token(token.clone());
        config.resources = Some(part_of(args, place, number as u64)?);
        let agent = proffer_agent::start(config)
            .await
            .map_err(|error| Failure::chain(&format!("{} does not start", at.name), &error))?;
        agents.push(agent);
    }
    let loopback =
        "127.0.0.1:0".parse().map_err(|_| Failure::new(ExitCode::Error, "no loopback"))?;
    let endpoint = Endpoint::parse(master.url())
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?
        .with_token(Some(token.clone()));
    let service = proffer_service::start(ServiceOptions {
        sdk: proffer_sdk::Options::new(endpoint),
        listen: listen(loopback),
        name: FrameworkName::new("service")?,
        role: RoleName::new("service")?,
        announce: None,
        failover_timeout: None,
    })
    .await
    .map_err(|error| Failure::chain("the service framework does not start", &error))?;
    Ok(Parts { service, agents, master, master_stop })
}

/// What one of the agents has: its part of the machine, or of what was asked for.
fn part_of(args: &Dev, place: &Place, number: u64) -> Result<Resources, Failure> {
    let agents = u64::from(args.agents);
    let whole: Resources = match &args.resources {
        Some(text) => text
            .parse()
            .map_err(|error| Failure::new(ExitCode::Usage, format!("--resources: {error}")))?,
        None => {
            let machine = Machine::detect(&place.record.data).map_err(|error| {
                Failure::new(ExitCode::Error, "looking at this machine").cause(error.to_string())
            })?;
            Resources::scalars([
                (ResourceName::Cpus, machine.cpu_millis),
                (ResourceName::Mem, machine.memory_bytes),
                (ResourceName::Disk, machine.disk_bytes),
            ])
        }
    };
    let mut part = Vec::new();
    let mut has_ports = false;
    for entry in whole.entries() {
        let quantity = match &entry.quantity {
            Quantity::Scalar(value) => Quantity::Scalar(value / agents),
            Quantity::Ranges(ranges) => {
                has_ports |= entry.key.name == ResourceName::Ports;
                Quantity::Ranges(slice(ranges, agents, number))
            }
            Quantity::Set(items) => {
                let own = items.iter().enumerate().filter(|(at, _)| *at as u64 % agents == number);
                Quantity::Set(own.map(|(_, item)| item.clone()).collect())
            }
        };
        part.push(Resource { key: entry.key.clone(), quantity });
    }
    if !has_ports {
        let block = Ranges::new(vec![place.ports])
            .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?;
        let quantity = Quantity::Ranges(slice(&block, agents, number));
        part.push(Resource { key: ResourceKey::plain(ResourceName::Ports), quantity });
    }
    Resources::from_entries(part).map_err(|error| Failure::new(ExitCode::Error, error.to_string()))
}

/// The `number`th of `parts` equal parts of `ranges`.
fn slice(ranges: &Ranges, parts: u64, number: u64) -> Ranges {
    let size = ranges.count() / parts;
    let before = ranges.first(size * number).unwrap_or_default();
    let through = ranges.first(size * (number + 1)).unwrap_or_default();
    through.checked_sub(&before).unwrap_or_default()
}

/// Runs until a part ends. Returns only with a failure.
async fn serve(
    global: &Global,
    args: &Dev,
    client: &Client,
    parts: &Parts,
    token: &Token,
    file: Option<String>,
    began: Instant,
) -> Result<ExitCode, Failure> {
    ready(client, parts.agents.len()).await?;
    give_up_others(client, parts.agents.len()).await?;
    let address = parts.master.address();
    let page = format!("{}/?token={}", parts.master.url(), token.reveal());
    let took = began.elapsed().as_secs_f64();
    match global.output {
        Output::Text => {
            note(&format!(
                "cluster of {} agent{} ready in {took:.1}s",
                args.agents,
                if args.agents == 1 { "" } else { "s" }
            ));
            note(&format!("page   {page}"));
            if address.port() != 7330 {
                note(&format!("CLI    export PROFFER_ADDR={address}"));
            }
        }
        Output::Json => json(&serde_json::json!({
            "address": address.to_string(), "page": page, "agents": args.agents, "ready_in_s": took,
        })),
    }
    if let Some(text) = file {
        let reply = super::deploy::deploy(client, &text, None, "").await?;
        let started = super::deploy::describe(&reply);
        for it in &started {
            note(&format!("{:<16} {}", it.service, it.done));
        }
        let code = follow_all(client, Output::Text, &started, READY_WITHIN * 10).await?;
        if code != ExitCode::Done {
            note("the cluster stays up; look with: proffer status, proffer why");
        }
    }
    note("press ctrl-c to end it");
    std::future::pending::<()>().await;
    Ok(ExitCode::Done)
}

/// Waits until the agents are active and services are taken.
async fn ready(client: &Client, agents: usize) -> Result<(), Failure> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let seen = super::agents::all(client).await;
        let active = seen
            .as_ref()
            .map_or(0, |rows| rows.iter().filter(|row| row.condition == "active").count());
        let services = client.get::<serde_json::Value>("/v1/services").await;
        if active >= agents && services.is_ok() {
            return Ok(());
        }
        if Instant::now() > until {
            let failure = Failure::new(ExitCode::Error, "the cluster is not ready after a minute")
                .cause(format!("{active} of {agents} agents are active"));
            return Err(match services {
                Err(services) => failure.hint(format!("the service framework says: {services}")),
                Ok(_) => failure,
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Agents of an earlier run with more of them do not come back: their tasks are to run elsewhere.
async fn give_up_others(client: &Client, agents: usize) -> Result<(), Failure> {
    let own: Vec<String> = (1..=agents).map(dev_place::agent_name).collect();
    for row in super::agents::all(client).await? {
        if row.info.is_some_and(|info| !own.contains(&info.name)) {
            let path = format!("/v1/agents/{}/gone", row.id);
            let _: proffer_proto::pb::OperatorAnswer = client.post(&path, Vec::new()).await?;
        }
    }
    Ok(())
}

/// The framework first, so that nothing is started anew; the master last, so that all is reported.
async fn end(parts: Parts, keep: bool) {
    parts.service.shutdown().await;
    if !keep {
        super::ending::end_tasks(&parts.agents, false).await;
    }
    for agent in parts.agents {
        if let Err(error) = agent.stop().await {
            note(&format!("error: an agent ended badly: {error}"));
        }
    }
    parts.master_stop.cancel();
    if let Err(error) = parts.master.ended().await {
        note(&format!("error: the master ended badly: {error}"));
    }
}

fn read_checked(path: &Path) -> Result<String, Failure> {
    let text = super::deploy::read(path)?;
    super::deploy::check(path, &text)?;
    Ok(text)
}
