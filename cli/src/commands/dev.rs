//! `proffer dev`: master, agents and the service framework in one process on loopback. The same code as
//! in production; nothing is mocked.

use super::follow;
use crate::args::{Dev, Global, Output, SERVICE_FRAMEWORK};
use crate::client::Client;
use crate::dev_place::{self, Leaves, Place};
use crate::exit::{ExitCode, Failure};
use crate::output::{json_line, note};
use crate::{shutdown, token};
use futures_util::future::select_all;
use proffer_agent::machine::Machine;
use proffer_agent::{Config as AgentConfig, RunningAgent};
use proffer_master::{CoreConfig, Settings, StoreChoice, TermError};
use proffer_net::{Endpoint, ListenConfig, Proof, Token, Tokens, local};
use proffer_sdk::Standing;
use proffer_service::ServiceOptions;
use proffer_types::resources::{Resource, ResourceKey};
use proffer_types::{
    AgentName, FrameworkName, Quantity, Ranges, ResourceName, Resources, RoleName,
};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long everything together may take to be ready before something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// All parts, in the order in which they end.
struct Parts {
    service: proffer_service::Running,
    agents: Vec<RunningAgent>,
    address: SocketAddr,
    url: String,
    /// Taken when it has ended.
    master: Option<JoinHandle<Result<(), TermError>>>,
    master_stop: CancellationToken,
}

impl Parts {
    /// Waits until one ends by itself, and says which and why: no part goes on without the others.
    async fn one_ended(&mut self, place: &Place) -> Failure {
        let agents = self.agents.iter_mut().zip(&place.record.agents);
        let agents = agents
            .map(|(agent, at)| Box::pin(async move { (at.name.as_str(), agent.wait().await) }));
        let ((what, why), is_master) = tokio::select! {
            ended = wait_for(&mut self.master) => (("the master", told(ended)), true),
            ((name, ended), ..) = select_all(agents) => ((name, told(ended)), false),
            () = self.service.ended() => {
                let torn_down = self.service.status().borrow().standing == Standing::Ended;
                let why = if torn_down { "it was torn down" } else { "its loop failed" };
                (("the service framework", why.to_owned()), false)
            }
        };
        if is_master {
            self.master = None;
        }
        Failure::new(ExitCode::Error, format!("{what} ended by itself")).cause(why)
    }
}

async fn wait_for(master: &mut Option<JoinHandle<Result<(), TermError>>>) -> Result<(), TermError> {
    match master {
        Some(master) => master.await.unwrap_or_else(|e| Err(TermError::Stopped(e.to_string()))),
        None => std::future::pending().await,
    }
}

/// Why a part ended.
fn told<E: std::error::Error>(ended: Result<(), E>) -> String {
    match ended {
        Ok(()) => "nobody asked it to".to_owned(),
        Err(error) => Failure::chain("", &error).cause,
    }
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
    if args.keep && args.data.is_none() {
        let message = "--keep: there is nothing to keep containers with";
        return Err(Failure::new(ExitCode::Usage, message).hint("add --data DIR"));
    }
    // Read first: a file that is not well should not bring up a cluster.
    let file = args.deploy.as_deref().map(read_checked).transpose()?;
    let mut place = dev_place::take(args.data.as_deref(), args.agents)?;
    let (mut parts, token, left) = match start(&args, &mut place).await {
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
    let endpoint = Endpoint::parse(&parts.url)
        .map_err(|error| Failure::new(ExitCode::Error, error.to_string()))?
        .with_token(Some(token.clone()));
    let client = Client::of(&endpoint);
    let front = Front {
        address: parts.address,
        page: format!("{}/?token={}", parts.url, token.reveal()),
        agents: parts.agents.len(),
    };
    let outcome = tokio::select! {
        failure = serve(global, &client, &front, file, began) => Err(failure),
        failure = parts.one_ended(&place) => Err(failure),
        () = stop.cancelled() => Ok(ExitCode::Done),
    };
    let keep = args.keep;
    if let Err(failure) = &outcome {
        note(&format!("{failure}: {}", failure.cause));
    }
    note(if keep { "leaving the containers running" } else { "ending the tasks" });
    let is_clean = end(parts, &place, keep).await;
    drop(left);
    place.give_back(match (keep, is_clean) {
        (true, _) => Leaves::Containers,
        (false, true) => Leaves::Nothing,
        (false, false) => Leaves::Rest,
    });
    outcome
}

async fn start(
    args: &Dev,
    place: &mut Place,
) -> Result<(Parts, Token, Option<local::Left>), Failure> {
    let tokens = token::kept(&place.record.data.join("master"))?;
    let token = tokens.first().cloned().expect("a file of tokens has one");
    let parts = start_parts(args, place, &tokens, &token).await?;
    let left = local::leave(parts.address, &token)
        .map_err(|error| Failure::chain("the token cannot be left", &error))?;
    for at in place.given_up() {
        note(&format!("{}: is not one of this run's agents: ending its tasks", at.name));
        super::cleanup::mend_agent(&at, false).await?;
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
        advertise: None,
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
        name: FrameworkName::new(SERVICE_FRAMEWORK)?,
        role: RoleName::new("service")?,
        announce: None,
        failover_timeout: None,
    })
    .await
    .map_err(|error| Failure::chain("the service framework does not start", &error))?;
    let (address, url) = (master.address(), master.url().to_owned());
    let master = Some(tokio::spawn(master.ended()));
    if let Some(agent) = agents.first() {
        super::agent::say_withheld(agent.withheld());
    }
    Ok(Parts { service, agents, address, url, master, master_stop })
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

/// Where the cluster is reached.
struct Front {
    address: SocketAddr,
    page: String,
    agents: usize,
}

/// Says where the cluster is, deploys, and goes on. Returns only when that fails.
async fn serve(
    global: &Global,
    client: &Client,
    front: &Front,
    file: Option<String>,
    began: Instant,
) -> Failure {
    match bring_up(global, client, front, file, began).await {
        Ok(()) => std::future::pending().await,
        Err(failure) => failure,
    }
}

async fn bring_up(
    global: &Global,
    client: &Client,
    front: &Front,
    file: Option<String>,
    began: Instant,
) -> Result<(), Failure> {
    let Front { address, page, agents } = front;
    ready(client, *agents).await?;
    give_up_others(client, *agents).await?;
    let took = began.elapsed().as_secs_f64();
    match global.output {
        Output::Text => {
            let plural = if *agents == 1 { "" } else { "s" };
            note(&format!("cluster of {agents} agent{plural} ready in {took:.1}s"));
            note(&format!("page   {page}"));
            if address.port() != 7330 {
                note(&format!("CLI    export PROFFER_ADDR={address}"));
            }
        }
        Output::Json => json_line(&serde_json::json!({
            "address": address.to_string(), "page": page, "agents": agents, "ready_in_s": took,
        })),
    }
    if let Some(text) = file {
        let reply = super::deploy::deploy(client, &text, None, "").await?;
        let started = super::deploy::describe(&reply);
        if global.output == Output::Text {
            started.iter().for_each(|it| note(&format!("{:<16} {}", it.service, it.done)));
        }
        let followed =
            follow::follow_all(client, global.output, &started, READY_WITHIN * 10).await?;
        if global.output == Output::Json {
            json_line(&follow::outcome_json(&reply, &followed));
        }
        if followed.code != ExitCode::Done {
            note("the cluster stays up; look with: proffer status, proffer why");
        }
    }
    note("press ctrl-c to end it");
    Ok(())
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
/// Whether nothing is left that should not be.
async fn end(parts: Parts, place: &Place, keep: bool) -> bool {
    parts.service.shutdown().await;
    if !keep {
        super::ending::end_tasks(&parts.agents, false).await;
    }
    let mut is_clean = true;
    for (agent, at) in parts.agents.into_iter().zip(&place.record.agents) {
        let had_ended = agent.has_ended();
        if let Err(error) = agent.stop().await {
            note(&format!("error: {} ended badly: {error}", at.name));
        }
        // One that ended by itself could not end its tasks.
        if had_ended
            && !keep
            && let Err(failure) = super::cleanup::mend_agent(at, false).await
        {
            note(&format!("error: {failure}: {}; run: proffer cleanup", failure.cause));
            is_clean = false;
        }
    }
    parts.master_stop.cancel();
    if let Some(master) = parts.master
        && let Err(error) = wait_for(&mut Some(master)).await
    {
        note(&format!("error: the master ended badly: {error}"));
    }
    is_clean
}

fn read_checked(path: &Path) -> Result<String, Failure> {
    let text = super::deploy::read(path)?;
    super::deploy::check(path, &text)?;
    Ok(text)
}
