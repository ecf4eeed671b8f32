//! Simulated agents: the real agent core and the real conversation with the master, many on one
//! connection. Containers and disk are the core's model: they start and are durable at once.

use anyhow::{Context, Result};
use futures_util::stream::unfold;
use proffer_agent_core::checkpoint::Checkpoint;
use proffer_agent_core::command::ConnectionId;
use proffer_agent_core::config::{Config, Limits};
use proffer_agent_core::model::Machine;
use proffer_agent_core::recovery::Found;
use proffer_agent_core::{Agent, Command, Effect};
use proffer_net::client::{AuthorizedChannel, Endpoint, channel};
use proffer_proto::pb;
use proffer_proto::pb::agent_service_client::AgentServiceClient;
use proffer_types::agent::{AgentDown, AgentInfo};
use proffer_types::task::IsolationLevel;
use proffer_types::{AgentName, Monotonic, Now, Resources, WallTime};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;

/// Below the streams that a master lets one connection have.
const AGENTS_PER_CONNECTION: usize = 200;
const FRAMES_MAX: usize = 256;

/// What all agents have done so far.
#[derive(Default, Debug)]
pub struct Done {
    /// Containers that were started.
    pub starts: AtomicU64,
    /// Containers that were started again: each is a fault.
    pub repeats: AtomicU64,
}

/// Starts `count` agents of `resources` each. They end with the set.
///
/// # Errors
/// When a name is none.
pub fn start(
    count: usize,
    resources: &Resources,
    endpoint: &Endpoint,
    done: &Arc<Done>,
) -> Result<JoinSet<Result<()>>> {
    let mut agents = JoinSet::new();
    let mut shared = channel(endpoint);
    for number in 0..count {
        if number % AGENTS_PER_CONNECTION == 0 {
            shared = channel(endpoint);
        }
        let config = config(number, resources)?;
        agents.spawn(live(config, AgentServiceClient::new(shared.clone()), Arc::clone(done)));
    }
    Ok(agents)
}

fn config(number: usize, resources: &Resources) -> Result<Config> {
    let name = AgentName::new(&format!("simulated-{number}"))
        .map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    let info = AgentInfo {
        hostname: name.to_string(),
        name,
        address: "127.0.0.1".to_owned(),
        api_url: String::new(),
        resources: resources.clone(),
        attributes: Default::default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isolation: IsolationLevel::Process,
        boot_id: format!("boot-{number}"),
        insecure: false,
    };
    let masters = vec!["the master".to_owned()];
    Ok(Config { info, masters, seed: number as u64, limits: Limits::default() })
}

type Client = AgentServiceClient<AuthorizedChannel>;

struct Live {
    agent: Agent,
    machine: Machine,
    client: Client,
    clock: Instant,
    connection: Option<Connection>,
    done: Arc<Done>,
}

struct Connection {
    number: ConnectionId,
    up: mpsc::Sender<pb::AgentUp>,
    down: Streaming<pb::AgentDown>,
}

async fn live(config: Config, client: Client, done: Arc<Done>) -> Result<()> {
    let clock = Instant::now();
    let (agent, effects) =
        Agent::recover(Checkpoint::default(), &Found::default(), config, now(clock));
    let machine = Machine::default();
    let mut live = Live { agent, machine, client, clock, connection: None, done };
    live.perform(effects).await;
    loop {
        let deadline = live.agent.next_deadline();
        let waited = now(live.clock).monotonic;
        let wait = deadline.map_or(Duration::from_secs(3600), |at| {
            Duration::from_millis(at.0.saturating_sub(waited.0))
        });
        let command = tokio::select! {
            command = next_frame(&mut live.connection) => command.context("a frame")?,
            () = tokio::time::sleep(wait) => Command::DeadlineReached,
        };
        if matches!(command, Command::Disconnected { .. }) {
            live.connection = None;
        }
        let effects = live.agent.apply(command, now(live.clock));
        live.perform(effects).await;
    }
}

async fn next_frame(connection: &mut Option<Connection>) -> Result<Command> {
    let Some(Connection { number, down, .. }) = connection else {
        return std::future::pending().await;
    };
    let ended =
        |reason: String| Command::Disconnected { connection: *number, reason, leader: None };
    match down.message().await {
        Ok(Some(frame)) => match AgentDown::try_from(frame) {
            Ok(frame) => Ok(Command::Frame { connection: *number, frame }),
            Err(refusal) => anyhow::bail!("the master sent what does not read: {refusal}"),
        },
        Ok(None) => Ok(ended("the stream ended".to_owned())),
        Err(status) => Ok(ended(status.to_string())),
    }
}

impl Live {
    /// Carries out effects, and what follows from them, in order.
    async fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let mut facts = self.machine.perform(&effect);
            facts.extend(self.machine.flush(usize::MAX));
            match effect {
                Effect::Connect { connection, .. } => facts.push(self.connect(connection).await),
                Effect::Disconnect { .. } => self.connection = None,
                Effect::Send { connection, frame } => self.send(connection, frame.into()).await,
                Effect::Checkpoint { .. }
                | Effect::Prepare(_)
                | Effect::Go { .. }
                | Effect::Kill { .. }
                | Effect::Destroy { .. }
                | Effect::Grant { .. }
                | Effect::Probe { .. }
                | Effect::RemoveSandbox { .. }
                | Effect::MakeVolume { .. }
                | Effect::WipeVolume { .. }
                | Effect::SetCapabilityKey { .. } => {}
            }
            for fact in facts {
                if let Command::Started { container, .. } = &fact {
                    let times = self.machine.starts().get(container).copied().unwrap_or_default();
                    let count = if times == 1 { &self.done.starts } else { &self.done.repeats };
                    count.fetch_add(1, Ordering::Relaxed);
                }
                queue.extend(self.agent.apply(fact, now(self.clock)));
            }
        }
    }

    async fn connect(&mut self, number: ConnectionId) -> Command {
        let (up, frames) = mpsc::channel(FRAMES_MAX);
        let frames = unfold(frames, |mut frames: mpsc::Receiver<pb::AgentUp>| async {
            frames.recv().await.map(|frame| (frame, frames))
        });
        match self.client.connect(frames).await {
            Ok(answer) => {
                self.connection = Some(Connection { number, up, down: answer.into_inner() });
                Command::Connected { connection: number }
            }
            Err(status) => Command::Disconnected {
                connection: number,
                reason: status.to_string(),
                leader: None,
            },
        }
    }

    async fn send(&mut self, number: ConnectionId, frame: pb::AgentUp) {
        if let Some(connection) = self.connection.as_ref().filter(|it| it.number == number) {
            // A closed stream says so where frames are read.
            let _ = connection.up.send(frame).await;
        }
    }
}

fn now(clock: Instant) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    // Monotonic time must not begin at zero: the core takes spans before it.
    Now { monotonic: Monotonic(ms(clock.elapsed()) + 1), wall: WallTime(ms(wall)) }
}
