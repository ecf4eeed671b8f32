//! Owns a place for an agent of a test: directories, a control group root and a run directory of its
//! own, and eyes on what is left there.

use proffer_agent::containerizer::IsolationLevel;
use proffer_agent::containerizer::linux::IsolationChoice;
use proffer_agent::{Config, RunningAgent, StartError};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::master::PATIENCE;

pub(crate) struct Bed {
    work: tempfile::TempDir,
    run: tempfile::TempDir,
    name: String,
    master: SocketAddr,
}

impl Bed {
    pub(crate) fn new(master: SocketAddr) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-test-{}-{number}", std::process::id());
        let prefix = tempfile::Builder::new().prefix("proffer-test-").to_owned();
        let run_base = if is_root() { "/run" } else { "/tmp" };
        let (work, run) = (prefix.tempdir().unwrap(), prefix.tempdir_in(run_base).unwrap());
        for directory in [&work, &run] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(directory.path(), mode).unwrap();
        }
        Self { work, run, name, master }
    }

    /// Where the agent keeps the data of volumes.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.work.path().join("agent/volumes")
    }

    pub(crate) fn config(&self) -> Config {
        let master = self.master.to_string();
        let mut config = Config::new(vec![master], self.work.path().join("agent"));
        config.name = Some(self.name.parse().unwrap());
        config.resources = Some("cpus:4;mem:1GiB;disk:1GiB;ports:[31000-31009]".parse().unwrap());
        config.run_dir = Some(self.run.path().join("r"));
        config.cgroup_root = Some(format!("proffer-test/{}", self.name));
        config.enter_cgroup_leaf = false;
        config.isolation = IsolationChoice::Exactly(IsolationLevel::Full);
        config
    }

    /// Starts an agent with real containers; `None`, with the reason printed, where they cannot be
    /// isolated.
    pub(crate) async fn start(&self) -> Option<RunningAgent> {
        self.start_as(self.config()).await
    }

    /// The same with another configuration.
    pub(crate) async fn start_as(&self, config: Config) -> Option<RunningAgent> {
        match proffer_agent::start(config).await {
            Ok(agent) => Some(agent),
            Err(StartError::Containers { action, source }) => {
                eprintln!("skipped: no full isolation here: {action}: {source}");
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Starts an agent again where one was dropped: its file and run directory are locked until all
    /// its tasks have noticed.
    pub(crate) async fn start_again(&self) -> RunningAgent {
        self.start_again_as(Self::config).await
    }

    /// The same with another configuration.
    pub(crate) async fn start_again_as(&self, config: impl Fn(&Self) -> Config) -> RunningAgent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match proffer_agent::start(config(self)).await {
                Ok(agent) => return agent,
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Directories of control groups under this bed's root, in any hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let roots = roots.filter_map(|line| line.split(' ').nth(4));
        let own = roots.map(|root| PathBuf::from(root).join("proffer-test").join(&self.name));
        own.filter(|path| path.exists()).collect()
    }

    pub(crate) fn run_entries(&self) -> usize {
        fs::read_dir(self.run.path().join("r")).map_or(0, Iterator::count)
    }

    pub(crate) fn sandbox(&self, container: &str) -> PathBuf {
        self.work.path().join("agent/sandboxes").join(container)
    }
}

/// Processes whose command line holds this text: their ids with their start times.
pub(crate) fn processes(marker: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(marker) && pid != std::process::id() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default().to_owned();
            let started = after_name.split(' ').nth(20).unwrap_or_default().to_owned();
            found.push((pid, started));
        }
    }
    found
}

/// Polls until it holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// One GET over HTTP/1.1: status, body.
pub(crate) async fn get(address: SocketAddr, path: &str, proof: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let proof =
        if proof.is_empty() { String::new() } else { format!("authorization: {proof}\r\n") };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{proof}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("it answers").unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(body: &str) -> String {
    let (mut out, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    out
}
