//! Every command and flag. A flag, its environment variable ([`crate::variables`]) and its key in the
//! configuration file have one name; a flag wins over the environment, the environment over the file.

use clap::{Args, Parser, Subcommand, ValueEnum};
use proffer_service::api::types::ServiceName;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a master listens and the other programs look for it, unless told.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7330";

/// Name of the service framework, unless told.
pub(crate) const SERVICE_FRAMEWORK: &str = "service";

/// A two-level cluster resource manager: a master that offers, frameworks that accept, agents that
/// run tasks in containers.
#[derive(Parser, Debug)]
#[command(
    name = "proffer",
    version,
    max_term_width = 100,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// Masters, any of which may be asked.
    #[arg(long = "masters", visible_alias = "master", global = true, env = "PROFFER_ADDR", value_name = "ADDR,…", value_delimiter = ',', default_value = DEFAULT_ADDRESS, help_heading = "Connection")]
    pub masters: Vec<String>,
    /// File with the token to show; by default the one a master on this machine has left.
    #[arg(
        long,
        global = true,
        env = "PROFFER_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub token_file: Option<PathBuf>,
    /// Certificate authority that the masters' certificates come from.
    #[arg(
        long,
        global = true,
        env = "PROFFER_TLS_CA",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub tls_ca: Option<PathBuf>,
    /// This program's own certificate, where the masters ask for one.
    #[arg(
        long,
        global = true,
        env = "PROFFER_TLS_IDENTITY_CERT",
        value_name = "FILE",
        requires = "tls_identity_key",
        help_heading = "Connection"
    )]
    pub tls_identity_cert: Option<PathBuf>,
    /// Its key.
    #[arg(
        long,
        global = true,
        env = "PROFFER_TLS_IDENTITY_KEY",
        value_name = "FILE",
        requires = "tls_identity_cert",
        help_heading = "Connection"
    )]
    pub tls_identity_key: Option<PathBuf>,
    /// Service framework whose services are meant, where there are several.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Connection")]
    pub framework: Option<String>,
    /// How to print.
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT", help_heading = "Output")]
    pub output: Output,
    /// Configuration file; keys are the names of the flags.
    #[arg(
        long,
        global = true,
        env = "PROFFER_CONFIG",
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub config: Option<PathBuf>,
    /// What to log: a level, or `module=level,…`.
    #[arg(
        long,
        global = true,
        env = "PROFFER_LOG",
        value_name = "FILTER",
        default_value = "warn",
        help_heading = "Output"
    )]
    pub log: String,
}

impl Global {
    /// This program's certificate and key.
    pub(crate) fn identity(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls_identity_cert.clone().zip(self.tls_identity_key.clone())
    }
}

/// How to print.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON document; streams print one object a line.
    Json,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a whole cluster in one process on this machine.
    #[command(display_order = 1)]
    Dev(Dev),
    /// Run a master.
    #[command(display_order = 2)]
    Master(Master),
    /// Run an agent.
    #[command(display_order = 3)]
    Agent(Agent),
    /// Run a bundled framework.
    #[command(display_order = 4)]
    Framework(Framework),

    /// Make services as a file says, and follow the rollout.
    #[command(display_order = 10)]
    Deploy(Deploy),
    /// Check a file without a cluster.
    #[command(display_order = 11)]
    Validate(Validate),
    /// List services.
    #[command(display_order = 12)]
    Ls,
    /// Show one service: rollout, instances, what happens next.
    #[command(display_order = 13)]
    Status(OneService),
    /// List the instances of one service, or of all.
    #[command(display_order = 14)]
    Ps(OptionalService),
    /// Print a service as it is stored.
    #[command(display_order = 15)]
    Get(Get),
    /// List the revisions of a service.
    #[command(display_order = 16)]
    History(OneService),
    /// Go back to an earlier revision.
    #[command(display_order = 17)]
    Rollback(Rollback),
    /// Change the number of instances.
    #[command(display_order = 18)]
    Scale(Scale),
    /// Replace all instances by the same revision.
    #[command(display_order = 19)]
    Restart(Follow),
    /// Print the output of a service's instances, or of one task.
    #[command(display_order = 20)]
    Logs(Logs),
    /// Stop all instances and remember how many there were.
    #[command(display_order = 21)]
    Stop(Follow),
    /// Start as many instances as there were.
    #[command(display_order = 22)]
    Start(Follow),
    /// Remove a service.
    #[command(display_order = 23)]
    Rm(Remove),
    /// Say why something waits.
    #[command(display_order = 24)]
    Why(Why),
    /// List where a service answers.
    #[command(display_order = 25)]
    Endpoints(Endpoints),
    /// Print what happened.
    #[command(display_order = 26)]
    Events(Events),
    /// Wait until something is so.
    #[command(display_order = 27)]
    Wait(Wait),

    /// List agents, or change one.
    #[command(display_order = 40)]
    Agents(Agents),
    /// List frameworks, or end one.
    #[command(display_order = 41)]
    Frameworks(Frameworks),
    /// List outstanding offers.
    #[command(display_order = 42)]
    Offers,
    /// List tasks, or end one.
    #[command(display_order = 43)]
    Tasks(Tasks),
    /// List roles, or set one.
    #[command(display_order = 44)]
    Roles(Roles),
    /// Keep resources of an agent for a role.
    #[command(display_order = 45)]
    Reserve(Reserve),
    /// Give reserved resources back to everybody, or to the level below.
    #[command(display_order = 46)]
    Unreserve(RemovedHold),
    /// List reservations, or change one.
    #[command(display_order = 47)]
    Reservations(Reservations),
    /// List persistent volumes, or make, change and destroy them.
    #[command(display_order = 48)]
    Volumes(Volumes),

    /// Print versions of this program and of the master.
    #[command(display_order = 60)]
    Version,
    /// Print a completion script.
    #[command(display_order = 61)]
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Remove what a killed `proffer dev` has left: processes, cgroups, mounts, directories.
    #[command(display_order = 62)]
    Cleanup(Cleanup),
}

/// Flags of a listener.
#[derive(Args, Debug, Clone)]
pub(crate) struct Listener {
    /// Certificate (chain) of this listener, PEM.
    #[arg(long, value_name = "FILE", help_heading = "Trust")]
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", help_heading = "Trust")]
    pub tls_key: Option<PathBuf>,
    /// Authority of the certificates that agents and frameworks must show.
    #[arg(long, value_name = "FILE", help_heading = "Trust")]
    pub tls_client_ca: Option<PathBuf>,
    /// Listen without TLS also where other machines can reach it. Everybody is told.
    #[arg(long, help_heading = "Trust")]
    pub insecure: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// Where the master listens: gRPC, HTTP and the page.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDRESS)]
    pub listen: SocketAddr,
    /// How many agents share the machine.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub agents: u32,
    /// What all agents have together, instead of what the machine has: `cpus:4;mem:8GiB;…`.
    #[arg(long, value_name = "LIST")]
    pub resources: Option<String>,
    /// Deploy the services of FILE and follow the rollout.
    #[arg(long, value_name = "FILE")]
    pub deploy: Option<PathBuf>,
    /// Keep state in DIR; by default it is temporary.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Leave the containers running at the end, for the next `dev --data` to take over.
    #[arg(long)]
    pub keep: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Master {
    /// Where to listen: gRPC, HTTP and the page.
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDRESS)]
    pub listen: SocketAddr,
    /// Where others reach it, as standbys tell them; by default where it listens, and if that is every
    /// address, the machine's own.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// What keeps the registry.
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    pub store: StoreKind,
    /// Directory of the embedded store.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/proffer/master")]
    pub data: PathBuf,
    /// Members of the etcd cluster.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', required_if_eq("store", "etcd"))]
    pub etcd_endpoints: Vec<String>,
    /// Prefix of all keys in etcd.
    #[arg(long, value_name = "PREFIX", default_value = "/proffer/default")]
    pub etcd_prefix: String,
    /// After this long without a word an agent is unreachable.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub agent_timeout: String,
    /// How long an offer is held.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub offer_ttl: String,
    /// A framework that is asked to move its tasks, without a deadline, and does not answer for so long
    /// loses them.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub inverse_offer_timeout: String,
    /// Tasks that are to start together on several agents and are not all prepared after so long never start.
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub gang_prepare_timeout: String,
    /// Resources that count for no share.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Allocation")]
    pub fair_exclude: Vec<String>,
    /// Resources that are scarce: agents with them are used last for tasks that need none.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "gpus",
        help_heading = "Allocation"
    )]
    pub scarce: Vec<String>,
    /// Do not use such agents at all for tasks that need none, nor offer them to frameworks that state no
    /// demand.
    #[arg(long, help_heading = "Allocation")]
    pub scarce_for_need_only: bool,
    /// What tasks of others are ended for when a demand finds no place.
    #[arg(long, value_enum, default_value = "all", help_heading = "Allocation")]
    pub preempt_for: PreemptFor,
    /// How long a demand finds no place before that.
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Allocation")]
    pub preempt_after: String,
    /// How long such tasks have until they are killed.
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Allocation")]
    pub preempt_grace: String,
    /// Most that one framework may hold in offers that it has not answered, in percent of what the
    /// cluster has of each resource; without it there is no bound but the time an offer is held.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub offers_held_max: Option<u8>,
    #[command(flatten)]
    pub listener: Listener,
}

/// What tasks of others are ended for.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreemptFor {
    /// Nothing.
    Nothing,
    /// What a role is guaranteed and lacks.
    Guarantees,
    /// That, and higher priorities within one top role.
    All,
}

/// What keeps the registry.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// A file on this machine.
    Embedded,
    /// An etcd cluster.
    Etcd,
}

#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// Name of this agent; by default the machine's.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where sandboxes and metrics are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Address at which tasks of this agent are reached; by default that of `--listen`.
    #[arg(long, value_name = "ADDR")]
    pub address: Option<String>,
    /// Checkpoint and sandboxes.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/proffer/agent")]
    pub work_dir: PathBuf,
    /// What it has, instead of what the machine has: `cpus:4;mem:8GiB;ports:[31000-31999]`.
    #[arg(long, value_name = "LIST")]
    pub resources: Option<String>,
    /// What it is: `zone:a;rack:r1`.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub attributes: String,
    /// How tasks are isolated: `best` takes what this machine and user allow, `full`, `process`.
    #[arg(long, value_name = "LEVEL", default_value = "best")]
    pub isolation: String,
    /// Where its control groups begin; by default `proffer/NAME`.
    #[arg(long, value_name = "proffer*/NAME")]
    pub cgroup_root: Option<String>,
    /// Sockets and exit files of the supervisors, on a tmpfs if possible; by default
    /// `/run/proffer/NAME` for root.
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub listener: Listener,
}

#[derive(Args, Debug)]
pub(crate) struct Framework {
    #[command(subcommand)]
    pub framework: BundledFramework,
}

#[derive(Subcommand, Debug)]
pub(crate) enum BundledFramework {
    /// Keeps long-running services alive.
    Service(ServiceFramework),
}

#[derive(Args, Debug)]
pub(crate) struct ServiceFramework {
    /// Its name; another than the default lets it be beside others.
    #[arg(long, value_name = "NAME", default_value = SERVICE_FRAMEWORK)]
    pub name: String,
    /// Role that pays for its tasks.
    #[arg(long, value_name = "ROLE", default_value = "service")]
    pub role: String,
    /// Where its API listens; the master passes requests on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where masters reach its API, `https://HOST:PORT`; by default at `--listen`.
    #[arg(long, value_name = "URL")]
    pub announce: Option<String>,
    #[command(flatten)]
    pub listener: Listener,
}

/// How to follow a rollout.
#[derive(Args, Debug, Clone)]
pub(crate) struct Following {
    /// Return at once; the rollout goes on.
    #[arg(short, long)]
    pub detach: bool,
    /// Return with code 4 after this long; the rollout goes on.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Deploy {
    /// The file, or `-` for standard input.
    #[arg(short, long, value_name = "FILE", required_unless_present = "positional")]
    pub file: Option<PathBuf>,
    /// The file, or `-` for standard input.
    #[arg(value_name = "FILE", conflicts_with = "file")]
    pub positional: Option<PathBuf>,
    /// Refuse with code 6 unless the service is at this revision.
    #[arg(long, value_name = "N")]
    pub if_revision: Option<u64>,
    /// Kept with the revision.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
    #[command(flatten)]
    pub following: Following,
}

#[derive(Args, Debug)]
pub(crate) struct Validate {
    /// The file, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct OneService {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
}

#[derive(Args, Debug)]
pub(crate) struct OptionalService {
    /// The service; all of them if not given.
    #[arg(value_parser = service_name)]
    pub service: Option<ServiceName>,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    /// An earlier revision.
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    /// The revision; by default the last good one before the present.
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    #[command(flatten)]
    pub following: Following,
}

#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// SERVICE=N, SERVICE=+N or SERVICE=-N.
    #[arg(required = true, value_name = "SERVICE=N")]
    pub targets: Vec<String>,
    #[command(flatten)]
    pub following: Following,
}

#[derive(Args, Debug)]
pub(crate) struct Follow {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    #[command(flatten)]
    pub following: Following,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// SERVICE, SERVICE/SLOT, or the key of a task such as f1/web.0.r1.1.
    pub target: String,
    /// Go on as it is written.
    #[arg(short, long)]
    pub follow: bool,
    /// Begin this many lines before the end.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub tail: u64,
    /// Of each slot the last instance that failed, or else the last that ended, as long as the master
    /// remembers it. Also shown when nothing runs.
    #[arg(short, long, conflicts_with = "follow")]
    pub previous: bool,
    /// Only standard output; by default both.
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only standard error; by default both.
    #[arg(long)]
    pub stderr: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub following: Following,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    /// A service, a task (f1/web.0.r1.1), a demand group (f1/NAME), a framework (f1) or an agent (a1);
    /// `role NAME` asks about a role.
    #[arg(num_args = 1..=2, required = true, value_names = ["SUBJECT", "NAME"])]
    pub subject: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Endpoints {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    /// Only this port.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// Print each change, one JSON object a line.
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Events {
    /// Only this service; by default the cluster's events.
    #[arg(value_parser = service_name)]
    pub service: Option<ServiceName>,
    /// Go on as they happen.
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// The service.
    #[arg(value_parser = service_name)]
    pub service: ServiceName,
    /// `ready`, `rollout`, `deleted` or `instances=N`.
    #[arg(long = "for", value_name = "CONDITION", default_value = "ready")]
    pub condition: String,
    /// Return with code 4 after this long.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: String,
}

#[derive(Args, Debug)]
pub(crate) struct Agents {
    #[command(subcommand)]
    pub verb: Option<AgentVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum AgentVerb {
    /// No new tasks, and frameworks move the present ones elsewhere. Shows what is touched; asks when tasks
    /// are ended at once or when that is more than half of the cluster.
    Drain(DrainAgent),
    /// No new tasks.
    Deactivate(ConfirmedId),
    /// Tasks again.
    Activate(ObjectId),
    /// It will not return: its tasks are lost for good.
    Gone(GoneAgent),
    /// Plan when agents are out of use.
    Maintenance(Maintenance),
}

#[derive(Args, Debug)]
pub(crate) struct Frameworks {
    #[command(subcommand)]
    pub verb: Option<FrameworkVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum FrameworkVerb {
    /// End a framework, its tasks and its state.
    Teardown(ConfirmedId),
}

#[derive(Args, Debug)]
pub(crate) struct Tasks {
    /// Tasks that have ended, as far as the master remembers them.
    #[arg(long)]
    pub ended: bool,
    #[command(subcommand)]
    pub verb: Option<TaskVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TaskVerb {
    /// End a task.
    Kill(ObjectId),
}

#[derive(Args, Debug)]
pub(crate) struct Roles {
    #[command(subcommand)]
    pub verb: Option<RoleVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum RoleVerb {
    /// Set a role's weight, guarantee or limit. What is not given stays as it is.
    Set(RoleSet),
}

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = true, args = ["weight", "guarantee", "limit"])]
pub(crate) struct RoleSet {
    /// The role, such as `eng/db`.
    pub role: String,
    /// Its part among its siblings; 1 is the default.
    #[arg(long, value_name = "N")]
    pub weight: Option<String>,
    /// Kept for it and all below it: `cpus:4;mem:8GiB`; '' for none.
    #[arg(long, value_name = "LIST")]
    pub guarantee: Option<String>,
    /// Never more for it and all below it: `cpus:9;gpus:0`; '' for none.
    #[arg(long, value_name = "LIST")]
    pub limit: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// Flags of everything that makes or changes a reservation or a volume.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Trying {
    /// Only say what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// Return when it is written down, not when the agent has done it.
    #[arg(short, long)]
    pub detach: bool,
}

/// What becomes of it when the framework that made it is removed.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reclaim {
    /// It stays and is listed.
    Retain,
    /// It is removed, a volume with its data.
    Delete,
}

impl Reclaim {
    pub(crate) fn word(self) -> String {
        match self {
            Self::Retain => "retain".to_owned(),
            Self::Delete => "delete".to_owned(),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Reserve {
    /// Where: id or name of an agent.
    pub agent: String,
    /// What: `cpus:4;mem:8GiB`; what the agent was started with for a role: `cpus(eng):4`.
    #[arg(long, value_name = "LIST")]
    pub resources: String,
    /// For whom.
    #[arg(long, value_name = "ROLE")]
    pub role: String,
    /// Reservation that this one refines, for a role below its role.
    #[arg(long, value_name = "ID")]
    pub below: Option<String>,
    /// A label; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// What becomes of it when the framework that made it is removed.
    #[arg(long, value_enum, default_value_t = Reclaim::Retain, value_name = "POLICY")]
    pub reclaim: Reclaim,
    #[command(flatten)]
    pub trying: Trying,
}

#[derive(Args, Debug)]
pub(crate) struct RemovedHold {
    /// Which.
    pub id: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub trying: Trying,
}

/// Which rows to list.
#[derive(Args, Debug, Default)]
pub(crate) struct HoldFilter {
    /// Only for this role.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Only on this agent.
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Only in this state: `pending`, `applied`, `removing`, `lost`, `quarantined`; of reservations also
    /// `static`, what agents were started with.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Reservations {
    #[command(flatten)]
    pub filter: HoldFilter,
    #[command(subcommand)]
    pub verb: Option<ReservationVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ReservationVerb {
    /// Change a reservation that nobody uses, in one step.
    Update(UpdateHold),
    /// Take a quarantined one as its agent has it.
    Adopt(AdoptHold),
}

#[derive(Args, Debug)]
pub(crate) struct UpdateHold {
    /// Which.
    pub id: String,
    /// For whom, of a reservation.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// A label, in place of all there are; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// No labels.
    #[arg(long, conflicts_with = "labels")]
    pub no_labels: bool,
    /// To whom it belongs.
    #[arg(long, value_name = "PRINCIPAL")]
    pub owner: Option<String>,
    /// What becomes of it when the framework that made it is removed.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub reclaim: Option<Reclaim>,
    #[command(flatten)]
    pub trying: Trying,
}

#[derive(Args, Debug)]
pub(crate) struct AdoptHold {
    /// Where: id or name of an agent.
    pub agent: String,
    /// Which.
    pub id: String,
    #[command(flatten)]
    pub trying: Trying,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Volumes {
    #[command(flatten)]
    pub filter: HoldFilter,
    #[command(subcommand)]
    pub verb: Option<VolumeVerb>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum VolumeVerb {
    /// List them, as without a verb.
    List(HoldFilter),
    /// Make a volume on the disk of a reservation.
    Create(CreateVolume),
    /// Make a volume larger that nobody uses.
    Grow {
        /// Which.
        id: String,
        /// How much it is to have: `20GiB`.
        #[arg(long, value_name = "BYTES")]
        size: String,
        #[command(flatten)]
        trying: Trying,
    },
    /// Change the owner or the policy of a volume that nobody uses.
    Update(UpdateHold),
    /// Remove a volume that nobody uses, with its data.
    Destroy(RemovedHold),
    /// Take a quarantined one as its agent has it.
    Adopt(AdoptHold),
}

#[derive(Args, Debug)]
pub(crate) struct CreateVolume {
    /// Reservation whose disk it takes.
    #[arg(long, value_name = "ID")]
    pub on: String,
    /// How much: `10GiB`.
    #[arg(long, value_name = "BYTES")]
    pub size: String,
    /// Where tasks see it, below their sandbox.
    #[arg(long, value_name = "PATH", default_value = "data")]
    pub path: String,
    /// Several tasks may use it at a time.
    #[arg(long)]
    pub shared: bool,
    /// What becomes of it when the framework that made it is removed.
    #[arg(long, value_enum, default_value_t = Reclaim::Retain, value_name = "POLICY")]
    pub reclaim: Reclaim,
    #[command(flatten)]
    pub trying: Trying,
}

#[derive(Args, Debug)]
pub(crate) struct ObjectId {
    /// Which.
    pub id: String,
}

#[derive(Args, Debug)]
pub(crate) struct ConfirmedId {
    /// Which.
    pub id: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Maintenance {
    #[command(subcommand)]
    pub verb: MaintenanceVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum MaintenanceVerb {
    /// Plan a window. Before it frameworks move their tasks; when it begins what is left is killed; when it
    /// ends the agents take tasks again.
    Add(AddMaintenance),
    /// Windows that have not ended.
    List,
    /// Forget one that has not begun.
    Remove(ObjectId),
    /// Begin one now: what is left on its agents is killed.
    Start(ConfirmedId),
    /// End one that has begun.
    End(ObjectId),
}

#[derive(Args, Debug)]
pub(crate) struct AddMaintenance {
    /// Which agents.
    #[arg(required = true)]
    pub agents: Vec<String>,
    /// When it begins, such as `2026-11-21T02:00:00Z`.
    #[arg(long, value_name = "MOMENT", required_unless_present = "begins_in")]
    pub start: Option<String>,
    /// In how long it begins.
    #[arg(long = "in", value_name = "TIME", conflicts_with = "start")]
    pub begins_in: Option<String>,
    /// How long it lasts.
    #[arg(long, value_name = "TIME")]
    pub duration: String,
    /// So long before it begins the agents take no new tasks, and frameworks are asked to move theirs.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub lead: String,
    /// What it is for.
    #[arg(long, short, default_value = "")]
    pub message: String,
    /// Only show what would be touched.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DrainAgent {
    /// Which.
    pub id: String,
    /// After this long, what is left is killed, with its grace; without it frameworks have as long as they
    /// need, and only those are hurried that do not answer.
    #[arg(long, value_name = "TIME", conflicts_with = "now")]
    pub deadline: Option<String>,
    /// Kill everything there at once, with its grace; nobody is asked.
    #[arg(long)]
    pub now: bool,
    /// Only show what would be touched.
    #[arg(long)]
    pub dry_run: bool,
    /// Follow it until nothing is left.
    #[arg(long)]
    pub wait: bool,
    /// How long to follow it; the drain goes on after that.
    #[arg(long, value_name = "TIME", default_value = "30m")]
    pub timeout: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GoneAgent {
    /// Which.
    pub id: String,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Also one that is connected: it ends its tasks and comes back as a new agent.
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Cleanup {
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Kill tasks at once instead of giving them their grace.
    #[arg(long)]
    pub force: bool,
    /// Also end the containers that `dev --keep` has left running.
    #[arg(long)]
    pub kept: bool,
}

fn service_name(text: &str) -> Result<ServiceName, String> {
    ServiceName::new(text).map_err(|refusal| refusal.message)
}
