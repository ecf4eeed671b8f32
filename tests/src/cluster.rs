//! Clusters of real processes: a `proffer dev`, or separate master, agents and service framework.

use crate::processes::{Ended, PATIENCE, Place, Program, proffer, until};
use crate::wire::Api;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// A running `proffer dev`.
pub struct Dev {
    /// Its process.
    pub program: Program,
    /// Its door.
    pub api: Api,
    /// The part of names of its control groups and directories that is its own.
    pub instance: String,
    keep_on_drop: bool,
}

impl Dev {
    /// Starts one on a free port and waits until its cluster is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(place: &Place, args: &[&str]) -> Self {
        let mut all = vec!["dev", "--listen", "127.0.0.1:0"];
        all.extend(args);
        Self::watch(Program::start(place, "dev", &all))
    }

    /// Waits until a started one is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn watch(mut program: Program) -> Self {
        let api = program.says("where its page is", |line| {
            let url = line.strip_prefix("page")?.trim().strip_prefix("http://")?;
            let (address, token) = url.split_once("/?token=")?;
            Some(Api { address: address.parse().ok()?, token: token.to_owned() })
        });
        let instance = records()
            .into_iter()
            .find(|(_, record)| record["pid"] == program.pid())
            .map(|(instance, _)| instance)
            .unwrap_or_default();
        Self { program, api, instance, keep_on_drop: false }
    }

    /// Waits until the deployment of `--deploy` is through.
    pub fn deployed(&mut self) {
        self.program
            .says("that it has deployed", |line| line.starts_with("press ctrl-c").then_some(()));
    }

    /// A command of the CLI against it.
    #[must_use]
    pub fn cli(&self, place: &Place, args: &[&str]) -> Ended {
        proffer(place, &[("PROFFER_ADDR", &self.api.address.to_string())], args)
    }

    /// Ctrl-C, and waits for the end.
    ///
    /// # Panics
    /// When it does not end with code 0.
    pub fn interrupt(&mut self) {
        self.program.signal(Signal::SIGINT);
        let status = self.program.end(PATIENCE);
        assert!(status.success(), "{status}: {}", self.program.err());
    }

    /// From here on a drop leaves what it left, for a test to look at.
    pub fn leave(&mut self) {
        self.keep_on_drop = true;
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.keep_on_drop {
            return;
        }
        self.program.kill();
        if self.instance.is_empty() {
            return;
        }
        crate::traces::remove(&format!("dev-{}", self.instance));
        let entries = [
            format!("dev-{}", self.instance),
            format!("dev-{}.json", self.instance),
            format!("{}.token", self.api.address),
        ];
        for entry in entries {
            let path = PathBuf::from("/run/proffer").join(entry);
            // Whichever of them is there.
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// The records that `dev`s of this machine have left: instance and record.
#[must_use]
pub fn records() -> Vec<(String, Value)> {
    let Ok(entries) = std::fs::read_dir("/run/proffer") else { return Vec::new() };
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let instance = name.strip_prefix("dev-")?.strip_suffix(".json")?.to_owned();
        let record = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
        Some((instance, record))
    });
    named.collect()
}

/// A port that nobody listens on and that no outgoing connection is given: it stays free while a
/// program that listens there is being restarted.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 4000).unwrap_or(0);
    for _ in 0..4000 {
        let at = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 4000;
        let port = 14_000 + at;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 14000 and 18000");
}

/// Separate real processes: one master, agents, one service framework.
pub struct Parts {
    /// The master's door.
    pub api: Api,
    /// The master.
    pub master: Option<Program>,
    /// The agents.
    pub agents: Vec<Option<Program>>,
    /// The service framework.
    pub framework: Option<Program>,
    /// More flags of the master.
    pub master_flags: Vec<String>,
    resources: String,
    /// `None`: the master makes its own and leaves it for the others.
    token_file: Option<PathBuf>,
    /// Where they live. The last field: what they said is there when they are dropped.
    pub place: Place,
}

impl Parts {
    /// Starts a master and `agents` agents of `resources` each; no framework.
    ///
    /// # Panics
    /// When the place cannot be written to.
    #[must_use]
    pub fn start(agents: usize, resources: &str) -> Self {
        let mut parts = Self::prepare(agents, resources);
        parts.start_master();
        (0..agents).for_each(|number| parts.start_agent(number));
        parts
    }

    /// The same with nothing started yet.
    ///
    /// # Panics
    /// When the place cannot be written to.
    #[must_use]
    pub fn prepare(agents: usize, resources: &str) -> Self {
        let place = Place::new();
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let token_file = place.file("token", &format!("{token}\n"));
        std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600))
            .expect("an own file");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Self {
            api: Api { address, token },
            master: None,
            agents: (0..agents).map(|_| None).collect(),
            framework: None,
            master_flags: Vec::new(),
            resources: resources.to_owned(),
            token_file: Some(token_file),
            place,
        }
    }

    /// From here on as without any flag about trust: the master's own token, left where the others
    /// look.
    #[must_use]
    pub fn default_trust(mut self) -> Self {
        self.token_file = None;
        self
    }

    /// Waits for the token that the master keeps.
    pub fn learn_token(&mut self) {
        let path = self.place.path().join("master/token");
        self.api.token = until("the master keeps a token", PATIENCE, || {
            Some(std::fs::read_to_string(&path).ok()?.trim().to_owned()).filter(|it| !it.is_empty())
        });
    }

    fn program(&self, label: &str, args: &[&str]) -> Program {
        let address = self.api.address.to_string();
        let mut all = args.to_vec();
        all.extend(["--masters", &address]);
        let token_file = self.token_file.as_ref().map(|path| path.to_string_lossy());
        if let Some(token_file) = &token_file {
            all.extend(["--token-file", token_file]);
        }
        Program::start(&self.place, label, &all)
    }

    /// Starts the master.
    pub fn start_master(&mut self) {
        let data = self.place.path().join("master");
        let address = self.api.address.to_string();
        let data = data.to_string_lossy();
        let mut args = vec!["master", "--listen", &address, "--data", &data];
        args.extend(self.master_flags.iter().map(String::as_str));
        self.master = Some(self.program("master", &args));
    }

    /// Starts an agent.
    pub fn start_agent(&mut self, number: usize) {
        let name = format!("agent-{number}");
        let work = self.place.path().join(&name);
        let run = self.place.path().join(format!("run-{number}"));
        let cgroup = format!("{}/{name}", self.place.name);
        let args = [
            "agent",
            "--name",
            &name,
            "--work-dir",
            &work.to_string_lossy(),
            "--run-dir",
            &run.to_string_lossy(),
            "--cgroup-root",
            &cgroup,
            "--resources",
            &self.resources,
        ];
        self.agents[number] = Some(self.program(&name, &args));
    }

    /// Starts the service framework.
    pub fn start_framework(&mut self) {
        self.framework = Some(self.program("framework", &["framework", "service"]));
    }

    /// Waits until `agents` agents are active.
    pub fn agents_active(&self, agents: usize) {
        until("all agents are active", PATIENCE, || {
            let rows = self.api.json("/v1/agents");
            let rows = rows["agents"].as_array()?;
            (rows.iter().filter(|row| row["condition"] == "active").count() == agents).then_some(())
        });
    }

    /// Waits until services can be asked for.
    pub fn services_answer(&self) {
        until("services are answered for", PATIENCE, || {
            (self.api.get("/v1/services").status == 200).then_some(())
        });
    }

    /// A command of the CLI against it.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Ended {
        let address = self.api.address.to_string();
        let token_file = self.token_file.as_ref().map(|path| path.to_string_lossy());
        let mut environment = vec![("PROFFER_ADDR", address.as_str())];
        environment.extend(token_file.as_deref().map(|path| ("PROFFER_TOKEN_FILE", path)));
        proffer(&self.place, &environment, args)
    }
}
