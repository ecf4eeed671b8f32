//! What one `dev` occupies on this machine: directories, control groups, a block of ports. A record of
//! it is left while it runs, so that `cleanup` can mend what a killed one has left.

use crate::exit::{ExitCode, Failure};
use nix::fcntl::{Flock, FlockArg};
use proffer_net::local;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
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
    /// It ended and left its containers running because it was told to (`--keep`).
    #[serde(default)]
    pub(crate) kept: bool,
}

/// What a `dev` leaves when it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nothing.
    Nothing,
    /// Its containers, to be found by the next start with its data.
    Containers,
    /// What it could not end.
    Rest,
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
    /// What an earlier run has left here, running.
    earlier: Option<Record>,
    _port_lock: UnixListener,
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
    let (port_lock, block) = take_ports(kept.as_ref().map(|kept| kept.block))?;
    let instance = kept.map_or(fresh, |kept| kept.instance);
    let record_path = runtime.join(format!("dev-{instance}.json"));
    let earlier = read_record(&record_path);
    let text = serde_json::to_vec(&Kept { instance: instance.clone(), block })
        .map_err(|error| failed("cannot write", &kept_path, error))?;
    std::fs::write(&kept_path, text).map_err(|error| failed("cannot write", &kept_path, error))?;
    let below = data.clone();
    let place = |number: usize| {
        let name = agent_name(number);
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
        agents: (1..=agents as usize).map(place).collect(),
        block: Some(block),
        kept: false,
    };
    let first = PORT_FIRST + block * PORT_BLOCK;
    let place = Place {
        record,
        ports: (first, first + PORT_BLOCK - 1),
        record_path,
        earlier,
        _port_lock: port_lock,
        _data_lock: data_lock,
    };
    // Until their tasks have ended, the agents that this run has not are its own to mend.
    let mut record = place.record.clone();
    record.agents.extend(place.given_up());
    write_record(&place.record_path, &record)?;
    Ok(place)
}

/// The name of an agent of a `dev`.
pub(crate) fn agent_name(number: usize) -> String {
    format!("agent-{number}")
}

fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write_record(path: &Path, record: &Record) -> Result<(), Failure> {
    let text = serde_json::to_vec(record).map_err(|error| failed("cannot write", path, error))?;
    std::fs::write(path, text).map_err(|error| failed("cannot write", path, error))
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

/// A block of ports that no other `dev` of this machine holds, if possible the one of before. Held by a
/// name among the abstract sockets: those are of the whole machine, as ports are, and whoever dies holds
/// none.
fn take_ports(before: Option<u64>) -> Result<(UnixListener, u64), Failure> {
    // A record outlives a `dev` that was killed or that keeps its containers: so do its ports. Those of
    // other users show by listening.
    let claimed: Vec<u64> = records().into_iter().filter_map(|(_, record)| record.block).collect();
    let listening: Vec<u64> = listening_ports()
        .iter()
        .filter_map(|port| Some(port.checked_sub(PORT_FIRST)? / PORT_BLOCK))
        .collect();
    let others = (0..PORT_BLOCKS).filter(|block| {
        Some(*block) != before && !claimed.contains(block) && !listening.contains(block)
    });
    for block in before.filter(|block| *block < PORT_BLOCKS).into_iter().chain(others) {
        let name = format!("proffer-dev-ports-{block}");
        let held = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes())
            .and_then(|address| UnixListener::bind_addr(&address));
        match held {
            Ok(held) => return Ok((held, block)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed("cannot hold", Path::new(&name), error)),
        }
    }
    let message = "all ports for devs of this machine are in use";
    Err(Failure::new(ExitCode::Refused, message)
        .cause(format!("there are {PORT_BLOCKS} blocks of {PORT_BLOCK}, from {PORT_FIRST} on"))
        .hint("proffer cleanup"))
}

/// The TCP ports that anybody listens on.
fn listening_ports() -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let lines = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    lines.filter_map(listening_port).collect()
}

/// `sl local_address rem_address st …`, all in hexadecimal; state 0A listens.
fn listening_port(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip(1);
    let (_, port) = words.next()?.rsplit_once(':')?;
    (words.nth(1)? == "0A").then(|| u64::from_str_radix(port, 16).ok())?
}

impl Place {
    /// Agents that an earlier run has left and this one has not.
    pub(crate) fn given_up(&self) -> Vec<AgentPlace> {
        let earlier = self.earlier.iter().flat_map(|record| &record.agents);
        let is_own = |at: &AgentPlace| self.record.agents.iter().any(|own| own.name == at.name);
        earlier.filter(|at| at.work_dir.exists() && !is_own(at)).cloned().collect()
    }

    /// Nothing of theirs is left to mend.
    pub(crate) fn forget_given_up(&mut self) -> Result<(), Failure> {
        self.earlier = None;
        write_record(&self.record_path, &self.record)
    }

    /// Gives the place back as it was before, for a start that failed: what runs on stays on record.
    pub(crate) fn withdraw(self) {
        match &self.earlier {
            // It was there before; when it cannot be written, the present record still names the place.
            Some(earlier) => drop(write_record(&self.record_path, earlier)),
            None => self.give_back(Leaves::Nothing),
        }
    }

    /// Gives the place back: what is temporary is removed. As long as anything is left the record stays,
    /// and a `cleanup` finds it.
    pub(crate) fn give_back(mut self, leaves: Leaves) {
        match leaves {
            Leaves::Nothing => {}
            Leaves::Rest => return,
            Leaves::Containers => {
                self.record.kept = true;
                // Without that word a `cleanup` takes it for killed, as it took those of before.
                let _ = write_record(&self.record_path, &self.record);
                return;
            }
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
            let record = read_record(&path)?;
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

/// When a process began, from `/proc/PID/stat`: the 22nd field, counted after the name. `None` also for
/// one that has ended and that nobody has waited for yet.
fn started(pid: i32) -> Option<u64> {
    began(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn began(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_dead_also_while_nobody_has_waited_for_it() {
        let stat = |state: &str| {
            format!("11332 (a ) b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21")
        };
        assert_eq!(began(&stat("S")), Some(4711));
        assert_eq!(began(&stat("Z")), None);
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let pid = child.id().cast_signed();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while started(pid).is_some() {
            assert!(std::time::Instant::now() < until, "a zombie counts as alive");
            std::thread::yield_now();
        }
        child.wait().expect("it is there until now");
    }

    #[test]
    fn ports_that_are_listened_on_are_read_from_the_kernels_table() {
        let line =
            "   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0";
        assert_eq!(listening_port(line), Some(20_000));
        assert_eq!(listening_port(&line.replace(" 0A ", " 01 ")), None);
        let own = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = u64::from(own.local_addr().expect("it is bound").port());
        assert!(listening_ports().contains(&port));
    }
}
