//! What one `dev` occupies on this machine: directories, control groups, a block of ports. A record of
//! it is left while it runs, so that `cleanup` can mend what a killed one has left.

use crate::exit::{ExitCode, Failure};
use nix::fcntl::{Flock, FlockArg};
use proffer_net::local;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Ports below the range that the kernel gives out by itself, in blocks for `dev`s side by side.
const PORT_FIRST: u64 = 20_000;
const PORT_BLOCK: u64 = 1_000;
const PORT_BLOCKS: u64 = 12;

/// One `dev`, as `cleanup` needs to know it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its process.
    pub(crate) pid: i32,
    /// When that process began, in clock ticks since boot: a pid is used again, this pair is not.
    pub(crate) started: u64,
    /// Its directory.
    pub(crate) data: PathBuf,
    /// Whether the directory goes with it.
    pub(crate) temporary: bool,
    /// Its agents.
    pub(crate) agents: Vec<AgentPlace>,
    /// Its block of ports: what a killed one has left may still listen there.
    #[serde(default)]
    pub(crate) block: Option<u64>,
}

/// What one agent of a `dev` occupies.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AgentPlace {
    pub(crate) name: String,
    pub(crate) work_dir: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) cgroup_root: String,
}

/// A place that is held while this lives.
pub(crate) struct Place {
    pub(crate) record: Record,
    /// First and last port.
    pub(crate) ports: (u64, u64),
    record_path: PathBuf,
    _port_lock: Flock<File>,
    _data_lock: Flock<File>,
}

/// What a data directory remembers of its `dev`.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Names run directories and control groups, so that the next start finds its containers.
    instance: String,
    /// Its block of ports.
    block: u64,
}

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Error, format!("{what} {}", path.display())).cause(error.to_string())
}

/// Takes a place for `agents` agents, in `data` or in a temporary directory.
pub(crate) fn take(data: Option<&Path>, agents: u32) -> Result<Place, Failure> {
    let runtime = local::make_directory()
        .map_err(|error| Failure::chain("there is no place for what a dev leaves", &error))?;
    let fresh = format!("{:08x}", rand::random::<u32>());
    let temporary = data.is_none();
    let data = match data {
        Some(data) => data.to_path_buf(),
        None => std::env::temp_dir().join(format!("proffer-dev-{fresh}")),
    };
    std::fs::create_dir_all(&data).map_err(|error| failed("cannot make", &data, error))?;
    let data = std::fs::canonicalize(&data).map_err(|error| failed("cannot use", &data, error))?;
    let data_lock = lock(&data.join("dev.lock")).map_err(|error| match error {
        LockError::Held => {
            Failure::new(ExitCode::Refused, format!("{} is in use by another dev", data.display()))
        }
        LockError::Io(error) => failed("cannot lock", &data, error),
    })?;
    let kept_path = data.join("dev.json");
    let kept: Option<Kept> =
        std::fs::read(&kept_path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let (port_lock, block) = take_ports(&runtime, kept.as_ref().map(|kept| kept.block))?;
    let instance = kept.map_or(fresh, |kept| kept.instance);
    let text = serde_json::to_vec(&Kept { instance: instance.clone(), block })
        .map_err(|error| failed("cannot write", &kept_path, error))?;
    std::fs::write(&kept_path, text).map_err(|error| failed("cannot write", &kept_path, error))?;
    let below = data.clone();
    let place = |number: u32| {
        let name = format!("agent-{number}");
        AgentPlace {
            work_dir: below.join(&name),
            run_dir: runtime.join(format!("dev-{instance}")).join(&name),
            cgroup_root: format!("proffer-dev-{instance}/{name}"),
            name,
        }
    };
    let record = Record {
        pid: std::process::id().cast_signed(),
        started: started(std::process::id().cast_signed()).unwrap_or(0),
        data,
        temporary,
        agents: (1..=agents).map(place).collect(),
        block: Some(block),
    };
    let record_path = runtime.join(format!("dev-{instance}.json"));
    let text =
        serde_json::to_vec(&record).map_err(|error| failed("cannot write", &record_path, error))?;
    std::fs::write(&record_path, text)
        .map_err(|error| failed("cannot write", &record_path, error))?;
    let first = PORT_FIRST + block * PORT_BLOCK;
    Ok(Place {
        record,
        ports: (first, first + PORT_BLOCK - 1),
        record_path,
        _port_lock: port_lock,
        _data_lock: data_lock,
    })
}

enum LockError {
    Held,
    Io(String),
}

fn lock(path: &Path) -> Result<Flock<File>, LockError> {
    let file = File::create(path).map_err(|error| LockError::Io(error.to_string()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        if errno == nix::errno::Errno::EWOULDBLOCK {
            LockError::Held
        } else {
            LockError::Io(errno.to_string())
        }
    })
}

/// A block of ports that no other `dev` of this machine holds, if possible the one of before.
fn take_ports(runtime: &Path, before: Option<u64>) -> Result<(Flock<File>, u64), Failure> {
    // A record outlives a `dev` that was killed or that keeps its containers: so do its ports.
    let claimed: Vec<u64> = records().into_iter().filter_map(|(_, record)| record.block).collect();
    let others =
        (0..PORT_BLOCKS).filter(|block| Some(*block) != before && !claimed.contains(block));
    for block in before.filter(|block| *block < PORT_BLOCKS).into_iter().chain(others) {
        let path = runtime.join(format!("ports-{block}.lock"));
        match lock(&path) {
            Ok(held) => return Ok((held, block)),
            Err(LockError::Held) => {}
            Err(LockError::Io(error)) => return Err(failed("cannot lock", &path, error)),
        }
    }
    let message = format!("{PORT_BLOCKS} devs run on this machine already");
    Err(Failure::new(ExitCode::Refused, message).hint("proffer cleanup"))
}

impl Place {
    /// Gives the place back: what is temporary is removed. With `keep` the record stays: containers
    /// run on, and a `cleanup` that is asked to can end them.
    pub(crate) fn give_back(self, keep: bool) {
        if keep {
            return;
        }
        // What could not be removed is found by `cleanup`: its record then stays as well.
        if self.record.temporary && std::fs::remove_dir_all(&self.record.data).is_err() {
            return;
        }
        for agent in &self.record.agents {
            // Only when empty.
            let _ = std::fs::remove_dir(&agent.run_dir);
            if let Some(above) = agent.run_dir.parent() {
                let _ = std::fs::remove_dir(above);
            }
        }
        let _ = std::fs::remove_file(&self.record_path);
    }
}

/// Every record on this machine.
pub(crate) fn records() -> Vec<(PathBuf, Record)> {
    let Ok(entries) = std::fs::read_dir(local::directory()) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("dev-") && name.ends_with(".json")
        })
        .filter_map(|path| {
            let record = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some((path, record))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

impl Record {
    /// Whether the process that wrote it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When a process began, from `/proc/PID/stat`: the 22nd field, counted after the name.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}
