//! Puts an agent together: checks, machine, checkpoint, recovery, listener; then the loop runs.

use crate::api::{self, ApiListener, ApiState, ListenError};
use crate::checkpoint::{CheckpointError, CheckpointStore, CheckpointWriter};
use crate::config::Config;
use crate::containerizer::cgroups::CgroupRoot;
use crate::containerizer::linux::{LinuxConfig, LinuxContainerizer};
use crate::containerizer::{
    ContainerError, ContainerEvent, ContainerId as RealId, Containerizer, IsolationLevel,
    RecoveredState,
};
use crate::effects::containers::{Containers, Live, Shared};
use crate::effects::events::{core_exit, core_id, report};
use crate::effects::master_client::MasterClient;
use crate::effects::prober::Prober;
use crate::effects::spec::SpecContext;
use crate::machine::Machine;
use crate::runtime::{RunningAgent, Runtime, clock_now};
use crate::unit;
use crate::work_dir::WorkDir;
use arc_swap::ArcSwap;
use proffer_agent_core::recovery::FoundState;
use proffer_agent_core::{Agent, Checkpoint, Found};
use proffer_net::client::Endpoint;
use proffer_types::agent::AgentInfo;
use proffer_types::attributes::{Attribute, Attributes};
use proffer_types::hold::HoldId;
use proffer_types::ids::{AgentName, VolumeId};
use proffer_types::refusal::Refusal;
use proffer_types::resources::{ResourceName, Resources};
use proffer_types::task;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Commands waiting for the loop. When full, whoever has news waits; the loop never waits for
/// them, so it always empties again.
const COMMANDS_MAX: usize = 4096;
/// Questions to the loop from outside.
const REQUESTS_MAX: usize = 64;
/// Ports to offer when the operator names none: outside the range from which the kernel takes
/// ports for outgoing connections (32768 and above).
const PORTS_DEFAULT: (u64, u64) = (31_000, 32_000);

/// An agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("{0}")]
    Setting(Refusal),
    /// The directory of the agent cannot be used.
    #[error("failed to use the work directory {path}", path = .path.display())]
    WorkDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The machine tells nothing of itself.
    #[error("failed to find out what this machine has")]
    Machine(#[source] std::io::Error),
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Containers cannot be run, or found again.
    #[error("failed to {action}")]
    Containers {
        /// The verb.
        action: &'static str,
        /// Why.
        source: ContainerError,
    },
    /// The listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There are no usable addresses or certificates for masters.
    #[error("the masters cannot be reached: {reason}")]
    Masters {
        /// Why.
        reason: String,
    },
}

/// Starts an agent with real containers.
///
/// # Errors
/// Why it cannot run here, in words for whoever gave the flags.
pub async fn start(config: Config) -> Result<RunningAgent, StartError> {
    let (name, machine) = identify(&config)?;
    let run_root = config.run_dir.clone().unwrap_or_else(|| default_run_dir(&config, &name));
    let root = config.cgroup_root.clone().unwrap_or_else(|| format!("proffer/{name}"));
    let cgroup_root = CgroupRoot::new(&config.cgroup_base, &root).map_err(|source| {
        StartError::Containers { action: "use the control group root", source }
    })?;
    let linux = LinuxConfig {
        run_root,
        cgroup_root,
        isolation: config.isolation,
        go_timeout: config.go_timeout,
    };
    let (containerizer, events) = LinuxContainerizer::new(linux)
        .map_err(|source| StartError::Containers { action: "prepare for containers", source })?;
    if config.enter_cgroup_leaf {
        // Supervisors are made in a leaf beside it, so that what ends the agent spares them (K14).
        containerizer.enter_agent_leaf().map_err(|source| StartError::Containers {
            action: "move the agent into its own control group",
            source,
        })?;
    }
    for advice in unit::advice().await {
        tracing::warn!("{advice}");
    }
    let withheld = containerizer.isolation().withheld.clone();
    let containerizer = Arc::new(containerizer);
    let roots = Arc::clone(&containerizer);
    let mut running = start_on(config, (name, machine), containerizer, events).await?;
    running.remove_roots_at_end(move || roots.remove_roots_if_empty());
    running.set_withheld(withheld);
    Ok(running)
}

/// Starts an agent on any containerizer, as tests do with the fake one.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    config: Config,
    containerizer: Arc<dyn Containerizer>,
    events: mpsc::Receiver<ContainerEvent>,
) -> Result<RunningAgent, StartError> {
    let identity = identify(&config)?;
    start_on(config, identity, containerizer, events).await
}

fn identify(config: &Config) -> Result<(AgentName, Machine), StartError> {
    std::fs::create_dir_all(&config.work_dir)
        .map_err(|source| StartError::WorkDir { path: config.work_dir.clone(), source })?;
    let machine = Machine::detect(&config.work_dir).map_err(StartError::Machine)?;
    let name = match &config.name {
        Some(name) => name.clone(),
        None => AgentName::new(&machine.hostname)
            .map_err(|refusal| StartError::Setting(refusal.within("name").hint("give --name")))?,
    };
    Ok((name, machine))
}

fn default_run_dir(config: &Config, name: &AgentName) -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        PathBuf::from("/run/proffer").join(name.as_str())
    } else {
        config.work_dir.join("run")
    }
}

async fn start_on(
    config: Config,
    (name, machine): (AgentName, Machine),
    containerizer: Arc<dyn Containerizer>,
    events: mpsc::Receiver<ContainerEvent>,
) -> Result<RunningAgent, StartError> {
    let work_dir = WorkDir::open(&config.work_dir)
        .map_err(|source| StartError::WorkDir { path: config.work_dir.clone(), source })?;
    let endpoint = endpoint_of(&config)?;
    let (store, checkpoint) = CheckpointStore::open(&work_dir.checkpoint())?;
    let listener = ApiListener::bind(&config).await?;
    let info = info_of(&config, (name, machine), &listener, containerizer.as_ref())?;

    let stop = CancellationToken::new();
    let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let shared = Arc::new(Shared {
        containerizer: Arc::clone(&containerizer),
        work_dir: work_dir.clone(),
        spec: SpecContext {
            agent_name: info.name.to_string(),
            address: info.address.clone(),
            isolation: containerizer.isolation().level,
            work_dir: work_dir.clone(),
        },
        commands: commands.clone(),
        live: Live::default(),
        stop: stop.clone(),
    });
    let found = find_again(&checkpoint, &shared).await?;
    let writer = CheckpointWriter::start(store)
        .map_err(|source| StartError::WorkDir { path: config.work_dir.clone(), source })?;
    let capability_key = Arc::new(ArcSwap::from_pointee(Vec::new()));
    let state = ApiState {
        work_dir,
        live: shared.live.clone(),
        capability_key: Arc::clone(&capability_key),
        requests: requests.clone(),
        masters: endpoint.clone(),
        insecure: config.insecure,
    };
    let address = listener.address();
    tokio::spawn(api::serve(listener, api::router(state), stop.clone()));
    let core_config = proffer_agent_core::Config {
        info,
        masters: config.masters.clone(),
        seed: rand::random(),
        limits: config.limits,
    };
    let (agent, effects) = Agent::recover(checkpoint, &found, core_config, clock_now());
    tokio::spawn(report(events, Arc::clone(&shared)));
    let runtime = Runtime {
        agent,
        writer,
        master: MasterClient::new(endpoint, commands.clone()),
        containers: Containers::new(Arc::clone(&shared)),
        prober: Prober::new(containerizer, commands, stop.clone()),
        shared,
        capability_key,
        told_refusal: None,
        _stop: stop.drop_guard(),
    };
    Ok(RunningAgent::spawn(runtime, effects, (waiting, asked), requests, address))
}

fn endpoint_of(config: &Config) -> Result<Endpoint, StartError> {
    let unreachable = |reason: String| StartError::Masters { reason };
    Endpoint::parse(&config.masters.join(","))
        .map_err(|error| unreachable(error.to_string()))?
        .with_proof(config.proof.clone())
        .with_tls(config.master_tls.as_ref())
        .map_err(|error| unreachable(error.to_string()))
}

/// What the agent says of itself: the operator's word goes before what was found.
fn info_of(
    config: &Config,
    (name, machine): (AgentName, Machine),
    listener: &ApiListener,
    containerizer: &dyn Containerizer,
) -> Result<AgentInfo, StartError> {
    let bound = listener.address();
    let host =
        if bound.ip().is_unspecified() { machine.hostname.clone() } else { bound.ip().to_string() };
    let address = config.address.clone().unwrap_or(host);
    let bracketed = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(StartError::Machine)?
        .trim()
        .to_owned();
    let resources = match &config.resources {
        Some(resources) => resources.clone(),
        None => resources_of(&machine).map_err(StartError::Setting)?,
    };
    let mut attributes: Attributes = machine
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), Attribute::Text(value.clone())))
        .collect();
    attributes.insert("hostname".to_owned(), Attribute::Text(machine.hostname.clone()));
    attributes.extend(config.attributes.clone());
    Ok(AgentInfo {
        name,
        hostname: machine.hostname,
        api_url: format!("{}://{bracketed}:{}", listener.scheme(), bound.port()),
        address,
        resources,
        attributes,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        isolation: match containerizer.isolation().level {
            IsolationLevel::Full => task::IsolationLevel::Full,
            IsolationLevel::Process => task::IsolationLevel::Process,
        },
        boot_id,
        insecure: config.insecure,
    })
}

fn resources_of(machine: &Machine) -> Result<Resources, Refusal> {
    let (first, last) = PORTS_DEFAULT;
    let text = format!(
        "cpus:{};mem:{}B;disk:{}B;ports:[{first}-{last}]",
        proffer_types::units::Milli(machine.cpu_millis),
        machine.memory_bytes,
        machine.disk_bytes
    );
    text.parse().map_err(|error: proffer_types::resources::ResourceError| {
        Refusal::new(
            proffer_types::refusal::RefusalCode::InvalidArgument,
            ResourceName::Cpus.as_str(),
            error.to_string(),
        )
    })
}

/// Finds the containers of an earlier life, removes those that nobody expects.
async fn find_again(checkpoint: &Checkpoint, shared: &Shared) -> Result<Found, StartError> {
    let failed = |action| move |source| StartError::Containers { action, source };
    let expected = checkpoint.expected_containers();
    let ids: Vec<RealId> = expected.iter().filter_map(|id| RealId::new(id.as_str()).ok()).collect();
    let recovery =
        shared.containerizer.recover(&ids).await.map_err(failed("find containers again"))?;
    let removed =
        shared.containerizer.cleanup_orphans(&ids).await.map_err(failed("remove orphans"))?;
    for id in removed {
        tracing::info!(%id, "removed a container that nobody expects");
    }
    let mut found = Found::default();
    for recovered in recovery.containers {
        let Some(container) = core_id(&recovered.id) else { continue };
        let state = match recovered.state {
            RecoveredState::Running { pid, started_at: _ } => {
                shared.live.insert(container.clone());
                FoundState::Running { pid }
            }
            RecoveredState::Exited(exit) => {
                FoundState::Exited(core_exit(&recovered.id, &exit, shared).await)
            }
            RecoveredState::Absent => FoundState::Absent,
        };
        found.containers.insert(container, state);
    }
    found.sandboxes = shared
        .work_dir
        .list_sandboxes()
        .map_err(|source| StartError::WorkDir { path: shared.work_dir.sandboxes(), source })?;
    found.volumes = find_volumes(checkpoint, &shared.work_dir)
        .map_err(|source| StartError::WorkDir { path: shared.work_dir.volumes(), source })?;
    Ok(found)
}

/// Directories of volumes. One that nobody knows stays, unless it is empty: its making was not finished.
fn find_volumes(
    checkpoint: &Checkpoint,
    work_dir: &WorkDir,
) -> std::io::Result<BTreeSet<VolumeId>> {
    let found = work_dir.list_volumes()?;
    for volume in &found {
        if !checkpoint.holds.contains_key(&HoldId::Volume(*volume))
            && std::fs::remove_dir(work_dir.volume(*volume)).is_err()
        {
            tracing::warn!(%volume, "a volume that nobody knows is left as it is");
        }
    }
    Ok(found)
}
