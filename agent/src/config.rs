//! Everything an operator may say to an agent. The names are those of the flags.

use crate::containerizer::IsolationLevel;
use crate::containerizer::linux::IsolationChoice;
use proffer_agent_core::config::Limits;
use proffer_net::Proof;
use proffer_net::tls::{ClientTlsFiles, TlsFiles};
use proffer_types::attributes::Attributes;
use proffer_types::ids::AgentName;
use proffer_types::resources::Resources;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of one agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--masters`: addresses, tried in turn. At least one.
    pub masters: Vec<String>,
    /// `--listen`: where sandboxes are read; port 0 lets the machine choose.
    pub listen: SocketAddr,
    /// `--name`: unique in the cluster; default: the machine's name.
    pub name: Option<AgentName>,
    /// `--address`: where its tasks are reached; default: the address listened on, or the
    /// machine's name when that is unspecified.
    pub address: Option<String>,
    /// `--work-dir`.
    pub work_dir: PathBuf,
    /// `--run-dir`: for the supervisors' sockets and exit files, a tmpfs if possible; default:
    /// `/run/proffer/<name>` for root, else `run` in the work directory.
    pub run_dir: Option<PathBuf>,
    /// `--resources`: what to offer; default: what the machine has.
    pub resources: Option<Resources>,
    /// `--attributes`: added to, or replacing, what is found.
    pub attributes: Attributes,
    /// `--isolation`.
    pub isolation: IsolationChoice,
    /// `--cgroup-root`: `proffer*/NAME`; default `proffer/<name>`.
    pub cgroup_root: Option<String>,
    /// `--cgroup-base`: a group delegated to this agent, above its root; default: the top.
    pub cgroup_base: String,
    /// Whether this process moves into the `agent` leaf of its root: not when it is more than one
    /// agent.
    pub enter_cgroup_leaf: bool,
    /// `--token-file`: shown to masters; also opens `/metrics`.
    pub proof: Proof,
    /// `--tls-ca`, `--tls-cert`, `--tls-key`: how masters are trusted and who we are.
    pub master_tls: Option<ClientTlsFiles>,
    /// `--tls-cert`, `--tls-key`, `--tls-client-ca`: for the own listener.
    pub listen_tls: Option<TlsFiles>,
    /// `--insecure`: listen without TLS on an address that others reach.
    pub insecure: bool,
    /// Bounds and spans of the core.
    pub limits: Limits,
    /// How long a prepared container waits for its checkpoint.
    pub go_timeout: Duration,
}

impl Config {
    /// Defaults for everything else.
    #[must_use]
    pub fn new(masters: Vec<String>, work_dir: PathBuf) -> Self {
        Self {
            masters,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            name: None,
            address: None,
            work_dir,
            run_dir: None,
            resources: None,
            attributes: Attributes::new(),
            isolation: IsolationChoice::Best,
            cgroup_root: None,
            cgroup_base: String::new(),
            enter_cgroup_leaf: true,
            proof: Proof::Nothing,
            master_tls: None,
            listen_tls: None,
            insecure: false,
            limits: Limits::default(),
            go_timeout: Duration::from_secs(60),
        }
    }
}

/// Reads `--isolation`: `best`, `full`, `process`.
///
/// # Errors
/// A sentence that lists them.
pub fn parse_isolation(text: &str) -> Result<IsolationChoice, String> {
    match text {
        "best" => Ok(IsolationChoice::Best),
        "full" => Ok(IsolationChoice::Exactly(IsolationLevel::Full)),
        "process" => Ok(IsolationChoice::Exactly(IsolationLevel::Process)),
        other => Err(format!("{other:?} is not one of best, full, process")),
    }
}
