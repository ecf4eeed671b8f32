//! P11: from the order to start to the first instruction of the program, and to the end of
//! everything, of our containers beside others: bare spawn and exec, the same in fresh namespaces
//! and nothing else, the same in control groups besides, and runc. All take turns in one loop.

use super::samples::{Subject, percentile};
use super::stamp::{self, ms_between, now_ns};
use crate::processes::{PATIENCE, Place, until};
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use proffer_agent::containerizer::cgroups::CgroupRoot;
use proffer_agent::containerizer::linux::{IsolationChoice, LinuxConfig, LinuxContainerizer};
use proffer_agent::containerizer::{
    ContainerEvent, ContainerId, ContainerSpec, Containerizer, IsolationLevel, Outcome,
};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::sync::mpsc::Receiver;

const BENCH: &str = "container";
/// Rounds before the first that counts: caches, and the first mount of each kind.
const WARM_UP: usize = 3;
const MEMORY_BYTES: u64 = 64 << 20;
const PIDS_MAX: u64 = 64;
const CPU_MILLIS: u64 = 1000;

/// One start: first instruction, and everything over and removed, in milliseconds from the order.
type Start = (f64, f64);

struct Bed {
    place: Place,
    /// What a runtime keeps of its containers: on a tmpfs, as `/run` is on a machine with systemd.
    run: PathBuf,
    stamp: PathBuf,
    root: PathBuf,
    runc: bool,
    ours: LinuxContainerizer,
    events: Receiver<ContainerEvent>,
}

const CASES: [&str; 6] = ["spawn", "clone", "clone_cgroups", "proffer", "proffer_root_dir", "runc"];

/// Hierarchies of version 1, the file of each that takes the limit, and the limit.
const LIMITS: [(&str, &str, u64); 3] = [
    ("cpu", "cpu.cfs_quota_us", CPU_MILLIS * 100),
    ("memory", "memory.limit_in_bytes", MEMORY_BYTES),
    ("pids", "pids.max", PIDS_MAX),
];

/// Measures `rounds` starts of each.
///
/// # Errors
/// When something does not start; never because it is slow.
pub async fn run(rounds: usize) -> Result<()> {
    let mut bed = Bed::new()?;
    let cases: Vec<&str> = CASES.into_iter().filter(|case| bed.can(case)).collect();
    let mut starts = vec![Vec::new(); cases.len()];
    for round in 0..rounds + WARM_UP {
        for turn in 0..cases.len() {
            // Each round begins with another: none always follows the same one.
            let at = (round + turn) % cases.len();
            let start = bed.start(cases[at], round).await.with_context(|| cases[at].to_owned())?;
            if round >= WARM_UP {
                starts[at].push(start);
            }
        }
    }
    let column =
        |at: usize, pick: fn(&Start) -> f64| -> Vec<f64> { starts[at].iter().map(pick).collect() };
    for (at, case) in cases.iter().enumerate() {
        let subject = Subject { bench: BENCH, case };
        subject.print_p50_and_min("start", "ms", &column(at, |start| start.0))?;
        // Its groups are removed when the kernel has let go of a thread, which is looked for now
        // and then: no figure.
        if *case != "clone_cgroups" {
            subject.print_p50_and_min("start_to_removed", "ms", &column(at, |start| start.1))?;
        }
    }
    let at = |name: &str| cases.iter().position(|case| *case == name);
    for (over, under) in [
        ("proffer", "clone"),
        ("proffer", "clone_cgroups"),
        ("runc", "proffer_root_dir"),
        ("runc", "clone"),
    ] {
        let (Some(over_at), Some(under_at)) = (at(over), at(under)) else { continue };
        let subject = Subject { bench: BENCH, case: over };
        let (above, below) = (column(over_at, |it| it.0), column(under_at, |it| it.0));
        for (word, percent) in [("p50", 50.0), ("min", 0.0)] {
            let ratio = percentile(&above, percent) / percentile(&below, percent);
            subject.print(&format!("start_{word}_over_{under}"), "x", ratio, &[])?;
        }
    }
    Ok(())
}

impl Bed {
    fn new() -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "containers need root");
        let place = Place::new();
        let stamp = stamp::build(place.path())?;
        let root = place.path().join("root");
        fs::create_dir_all(&root)?;
        fs::copy(&stamp, root.join("stamp"))?;
        for path in [place.path(), &root] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        let tmpfs = Path::new("/dev/shm");
        let run = if tmpfs.is_dir() { tmpfs.join(&place.name) } else { place.path().join("run") };
        let (ours, events) = LinuxContainerizer::new(LinuxConfig {
            run_root: run.join("ours"),
            cgroup_root: CgroupRoot::new("", &format!("{}/ours", place.name))?,
            isolation: IsolationChoice::Exactly(IsolationLevel::Full),
            go_timeout: PATIENCE,
        })?;
        let runc = Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_ok();
        let bed = Self { place, run, stamp, root, runc, ours, events };
        if runc {
            bed.write_bundle()?;
        }
        Ok(bed)
    }

    /// Version 2 moves whole processes alone, so there this floor cannot be had from a thread.
    fn can(&self, case: &str) -> bool {
        match case {
            "runc" => self.runc,
            "clone_cgroups" => Path::new("/sys/fs/cgroup/pids/tasks").exists(),
            _ => true,
        }
    }

    async fn start(&mut self, case: &str, round: usize) -> Result<Start> {
        match case {
            "spawn" => spawn(&self.stamp),
            "clone" => self.in_namespaces(Vec::new()),
            "clone_cgroups" => self.in_namespaces(self.groups(round)),
            "proffer" => self.ours(round, None).await,
            "proffer_root_dir" => self.ours(round, Some(self.root.clone())).await,
            "runc" => self.with_runc(round),
            other => bail!("no case {other}"),
        }
    }

    fn groups(&self, round: usize) -> Vec<Group> {
        let group = |(hierarchy, limit, value)| {
            let name = format!("floor-{round}");
            let path =
                Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.place.name).join(name);
            Group { path, limit, value }
        };
        LIMITS.into_iter().map(group).collect()
    }

    /// Unshare and spawn: the kernel makes the same namespaces as one clone with these flags. On a
    /// thread of its own, because a thread cannot go back; it enters the groups before.
    fn in_namespaces(&self, groups: Vec<Group>) -> Result<Start> {
        let stamp = self.stamp.clone();
        let began = now_ns();
        let thread = std::thread::spawn(move || {
            groups.iter().try_for_each(Group::enter)?;
            let flags = CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS;
            unshare(flags)?;
            anyhow::Ok((spawn_since(began, Command::new(stamp))?.0, groups))
        });
        let ended = thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?;
        let (start, groups) = ended?;
        groups.iter().try_for_each(Group::remove)?;
        Ok((start, ms_between(began, now_ns())))
    }

    async fn ours(&mut self, round: usize, root_dir: Option<PathBuf>) -> Result<Start> {
        let name = format!("c{round}-{}", if root_dir.is_some() { "root" } else { "plain" });
        let id = ContainerId::new(name.as_str())?;
        let sandbox = self.place.path().join(&name);
        fs::create_dir_all(&sandbox)?;
        let program = if root_dir.is_some() { "/stamp".into() } else { self.stamp.clone() };
        let argv = vec![program.to_string_lossy().into_owned()];
        let mut spec = ContainerSpec::new(id.clone(), sandbox.clone(), argv);
        spec.root_dir = root_dir;
        spec.memory_bytes = Some(MEMORY_BYTES);
        spec.pids_max = Some(PIDS_MAX);
        spec.cpu_millis = Some(CPU_MILLIS);
        spec.isolation_at_least = IsolationLevel::Full;
        let began = now_ns();
        self.ours.prepare(spec).await?;
        self.ours.go(&id).await?;
        loop {
            let event = self.events.recv().await.context("the containerizer ended")?;
            if let ContainerEvent::Exited { id: ended, exit } = event
                && ended == id
            {
                ensure!(exit.outcome == Outcome::Code(0), "{exit:?}");
                break;
            }
        }
        self.ours.destroy(&id).await?;
        let removed = now_ns();
        let started = stamp::read(&fs::read(sandbox.join("stdout"))?)?;
        Ok((ms_between(began, started), ms_between(began, removed)))
    }

    fn bundle(&self) -> PathBuf {
        self.place.path().join("bundle")
    }

    /// The same namespaces, limits and mounts as ours, no seccomp, no network of its own.
    fn write_bundle(&self) -> Result<()> {
        let bundle = self.bundle();
        fs::create_dir_all(&bundle)?;
        let mount = |place: &str, kind: &str, options: &[&str]| json!({"destination": place, "type": kind, "source": kind, "options": options});
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "cwd": "/", "args": ["/stamp"], "noNewPrivileges": true,
                "user": {"uid": 0, "gid": 0}, "env": ["PATH=/"],
            },
            "root": {"path": self.root, "readonly": true},
            "mounts": [
                mount("/proc", "proc", &[]),
                mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            ],
            "linux": {
                "cgroupsPath": format!("/{}/runc", self.place.name),
                "namespaces": [
                    {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                ],
                "resources": {
                    "memory": {"limit": MEMORY_BYTES}, "pids": {"limit": PIDS_MAX},
                    "cpu": {"shares": 1024, "quota": 100_000, "period": 100_000},
                },
            },
        });
        fs::write(bundle.join("config.json"), config.to_string())?;
        Ok(())
    }

    /// Runs in the foreground and removes the container at its end.
    fn with_runc(&self, round: usize) -> Result<Start> {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.run.join("runc")).args(["run", "--bundle"]);
        command.arg(self.bundle()).arg(format!("{}-{round}", self.place.name));
        timed(command)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Directories of containers that are gone; what cannot be removed is named after the test.
        let _ = fs::remove_dir_all(&self.run);
    }
}

/// One control group of version 1 with one limit.
struct Group {
    path: PathBuf,
    limit: &'static str,
    value: u64,
}

impl Group {
    fn enter(&self) -> Result<()> {
        fs::create_dir_all(&self.path)?;
        fs::write(self.path.join(self.limit), self.value.to_string())?;
        // Zero is the thread that writes.
        Ok(fs::write(self.path.join("tasks"), "0")?)
    }

    /// The thread leaves its groups a moment after it can be joined.
    fn remove(&self) -> Result<()> {
        until("the group is empty", PATIENCE, || fs::remove_dir(&self.path).ok());
        Ok(())
    }
}

fn spawn(program: &Path) -> Result<Start> {
    timed(Command::new(program))
}

fn timed(command: Command) -> Result<Start> {
    spawn_since(now_ns(), command)
}

/// Spawned without a copy of this process: the standard library uses `posix_spawn` here.
fn spawn_since(began: i64, mut command: Command) -> Result<Start> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    let over = now_ns();
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok((ms_between(began, stamp::read(&output.stdout)?), ms_between(began, over)))
}
