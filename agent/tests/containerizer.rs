//! The containerizer suite: what every implementation promises, then what only the real one can
//! show (namespaces, limits, leaks). The real one needs root and control groups; without them its
//! part is skipped and says so.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proffer_agent::containerizer::cgroups::CgroupRoot;
use proffer_agent::containerizer::fake::FakeContainerizer;
use proffer_agent::containerizer::linux::{IsolationChoice, LinuxConfig, LinuxContainerizer};
use proffer_agent::containerizer::{
    BootTime, ContainerError, ContainerEvent, ContainerExit, ContainerId, ContainerSpec,
    ContainerUser, Containerizer, ExecExit, ExecRequest, IsolationLevel, KillPolicy, LogLimits,
    Outcome, RecoveredState, Rlimit, RlimitResource, StopCause,
};
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

/// Nothing here takes long; a machine under load may.
const PATIENCE: Duration = Duration::from_secs(60);

// --- the bed ---

/// A real containerizer with roots of its own, which shows what it left behind.
struct Bed {
    name: String,
    temp: tempfile::TempDir,
    linux: Option<LinuxContainerizer>,
    events: Receiver<ContainerEvent>,
    isolation: IsolationChoice,
    mounts_before: usize,
}

impl Bed {
    /// `None`, with the reason printed, where containers cannot be isolated.
    fn new() -> Option<Self> {
        Self::with(IsolationChoice::Exactly(IsolationLevel::Full))
    }

    fn with(isolation: IsolationChoice) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{count}", std::process::id());
        // The machine's own directory for this: a tmpfs on most, and short enough for nothing.
        let base = if Path::new("/run").is_dir() && is_root() {
            Path::new("/run")
        } else {
            Path::new("/tmp")
        };
        let temp = tempfile::Builder::new().prefix("proffer-test-").tempdir_in(base).unwrap();
        fs::set_permissions(temp.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let mounts_before = mount_count();
        match open(&name, temp.path(), isolation) {
            Ok((linux, events)) => {
                let linux = Some(linux);
                Some(Self { name, temp, linux, events, isolation, mounts_before })
            }
            Err(error) => {
                eprintln!("skipped: no full isolation here: {error}");
                None
            }
        }
    }

    fn get(&self) -> &LinuxContainerizer {
        self.linux.as_ref().unwrap()
    }

    /// The agent dies and comes back: everything in its memory is gone.
    async fn restart(&mut self) {
        self.linux = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match open(&self.name, self.temp.path(), self.isolation) {
                Ok((linux, events)) => {
                    self.linux = Some(linux);
                    self.events = events;
                    return;
                }
                // Its tasks still hold the lock for a moment.
                Err(e) => assert!(Instant::now() < deadline, "{e}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As the core does with a task that was promised and never started: what is left is removed if
    /// there is anything, and it is prepared again.
    async fn keep_the_promise(&self, id: &ContainerId, found: &RecoveredState) {
        match found {
            RecoveredState::Exited(exit) if exit.outcome == Outcome::NeverStarted => {
                self.get().destroy(id).await.unwrap();
            }
            RecoveredState::Absent => {}
            RecoveredState::Exited(_) | RecoveredState::Running { .. } => return,
        }
        self.get().prepare(self.shell(id.as_str(), "true")).await.unwrap();
    }

    fn spec(&self, id: &str, argv: &[&str]) -> ContainerSpec {
        let sandbox = self.temp.path().join(format!("sandbox-{id}"));
        fs::create_dir_all(&sandbox).unwrap();
        let argv = argv.iter().map(|a| (*a).to_owned()).collect();
        let mut spec = ContainerSpec::new(ContainerId::new(id).unwrap(), sandbox, argv);
        spec.env = vec![("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())];
        spec
    }

    fn shell(&self, id: &str, script: &str) -> ContainerSpec {
        self.spec(id, &["sh", "-c", script])
    }

    async fn launch(&self, spec: ContainerSpec) -> ContainerId {
        launch(self.get(), spec).await
    }

    async fn exit(&mut self, id: &ContainerId) -> ContainerExit {
        exit_of(&mut self.events, id).await
    }

    /// Launches, waits for the end, destroys, and returns the exit with the output.
    async fn run(&mut self, spec: ContainerSpec) -> (ContainerExit, String) {
        let stdout = spec.sandbox.join("stdout");
        let id = self.launch(spec).await;
        let exit = self.exit(&id).await;
        self.get().destroy(&id).await.unwrap();
        (exit, fs::read_to_string(stdout).unwrap())
    }

    fn stdout(&self, id: &ContainerId) -> String {
        let path = self.temp.path().join(format!("sandbox-{id}/stdout"));
        fs::read_to_string(path).unwrap_or_default()
    }

    async fn output_holds(&self, id: &ContainerId, text: &str) {
        eventually(&format!("`{text}` in the output of {id}"), || self.stdout(id).contains(text))
            .await;
    }

    fn run_dir(&self, id: &ContainerId) -> PathBuf {
        self.temp.path().join("run").join(id.as_str())
    }

    fn supervisor_pid(&self, id: &ContainerId) -> i32 {
        fs::read_to_string(self.run_dir(id).join("lock")).unwrap().trim().parse().unwrap()
    }

    /// I12: nothing that was made is left: no process, group, mount, directory.
    async fn assert_clean(mut self) {
        let linux = self.linux.take().unwrap();
        let run = self.temp.path().join("run");
        let left: Vec<_> = fs::read_dir(&run).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, [".lock"], "run directories are left");
        linux.remove_roots_if_empty();
        drop(linux);
        assert!(!run.exists(), "the run root is left");
        assert_eq!(groups_named(&self.name), Vec::<PathBuf>::new(), "control groups are left");
        assert_eq!(mount_count(), self.mounts_before, "mounts are left");
        let marker = self.temp.path().to_str().unwrap().to_owned();
        eventually("no process is left", || processes_with(&marker).is_empty()).await;
    }
}

impl Drop for Bed {
    /// Only after a failure is there anything to do: what a broken test started must not go on.
    fn drop(&mut self) {
        self.linux = None;
        let groups = groups_named(&self.name);
        for group in &groups {
            let _ = fs::write(group.join("cgroup.kill"), "1");
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < deadline
            && !groups.iter().all(|g| remove_groups(g).is_ok())
        {
            std::thread::yield_now();
        }
    }
}

fn remove_groups(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn open(
    name: &str,
    temp: &Path,
    isolation: IsolationChoice,
) -> Result<(LinuxContainerizer, Receiver<ContainerEvent>), ContainerError> {
    LinuxContainerizer::new(LinuxConfig {
        run_root: temp.join("run"),
        cgroup_root: CgroupRoot::new("", &format!("proffer-test/{name}"))?,
        isolation,
        go_timeout: PATIENCE,
    })
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn mount_count() -> usize {
    // Mounts of other programs come and go; ours would hold a name of ours or cover what is ours.
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().filter(|l| l.contains("proffer")).count()
}

fn groups_named(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return found };
    let dirs = hierarchies.flatten().map(|e| e.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    for dir in dirs {
        let group = dir.join("proffer-test").join(name);
        if group.exists() {
            found.push(group);
        }
    }
    found
}

/// Processes, other than this one, whose command line or environment holds the text.
fn processes_with(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        if pid == std::process::id() as i32 {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                found.push(pid);
                break;
            }
        }
    }
    found
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn launch(containerizer: &dyn Containerizer, spec: ContainerSpec) -> ContainerId {
    let id = spec.id.clone();
    containerizer.prepare(spec).await.unwrap();
    containerizer.go(&id).await.unwrap();
    id
}

async fn next_event(events: &mut Receiver<ContainerEvent>) -> ContainerEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an open channel")
}

/// The exit of one container; events of others are passed over.
async fn exit_of(events: &mut Receiver<ContainerEvent>, wanted: &ContainerId) -> ContainerExit {
    loop {
        if let ContainerEvent::Exited { id, exit } = next_event(events).await
            && id == *wanted
        {
            return exit;
        }
    }
}

async fn started(events: &mut Receiver<ContainerEvent>, wanted: &ContainerId) -> u32 {
    loop {
        match next_event(events).await {
            ContainerEvent::Started { id, pid, .. } if id == *wanted => return pid,
            ContainerEvent::Exited { id, exit } if id == *wanted => panic!("{id} ended: {exit:?}"),
            ContainerEvent::Started { .. } | ContainerEvent::Exited { .. } => {}
        }
    }
}

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

fn alive(pid: u32) -> bool {
    // A zombie is dead.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn at_once() -> Option<KillPolicy> {
    Some(KillPolicy { signal: libc::SIGKILL, grace: Duration::ZERO })
}

// --- what both promise ---

/// What a task shall do, for the implementation under test to spell.
#[derive(Clone, Copy)]
enum Payload {
    Exit(i32),
    Signal(i32),
    Run,
    IgnoreTerm,
    Missing,
}

/// The promises of the trait, shown on one implementation.
async fn keeps_the_promises(
    containerizer: &dyn Containerizer,
    events: &mut Receiver<ContainerEvent>,
    sandbox: &Path,
    spell: &dyn Fn(Payload) -> Vec<String>,
    is_armed: &dyn Fn() -> bool,
) {
    let spec =
        |name: &str, payload| ContainerSpec::new(id(name), sandbox.to_owned(), spell(payload));

    // Exit code, signal and failed launch are told apart; Started comes first, then one Exited.
    let code = launch(containerizer, spec("code", Payload::Exit(3))).await;
    assert!(matches!(next_event(events).await, ContainerEvent::Started { id, .. } if id == code));
    let exit = exit_of(events, &code).await;
    assert_eq!((&exit.outcome, exit.cause), (&Outcome::Code(3), StopCause::Itself));
    assert!(exit.started_at.is_some() && exit.exited_at >= exit.started_at);
    assert!(!exit.forced && !exit.oom_killed);
    let by_signal = launch(containerizer, spec("signal", Payload::Signal(libc::SIGUSR1))).await;
    assert_eq!(exit_of(events, &by_signal).await.outcome, Outcome::Signal(libc::SIGUSR1));
    let missing = launch(containerizer, spec("missing", Payload::Missing)).await;
    let event = next_event(events).await;
    let ContainerEvent::Exited { id: ended, exit } = &event else {
        panic!("a task that never executed was reported as {event:?}")
    };
    assert_eq!(ended, &missing);
    let step = "execute the program".to_owned();
    assert_eq!(exit.outcome, Outcome::LaunchFailed { step, errno: libc::ENOENT });

    // A name is taken until it is destroyed, also after the end.
    let again = containerizer.prepare(spec("code", Payload::Run)).await;
    assert!(matches!(again, Err(ContainerError::Exists { .. })), "{again:?}");
    for ended in [&code, &by_signal, &missing] {
        containerizer.destroy(ended).await.unwrap();
        containerizer.destroy(ended).await.unwrap();
    }

    // Nothing runs before go; a kill before go means that it never will.
    containerizer.prepare(spec("early", Payload::Exit(0))).await.unwrap();
    let early = id("early");
    let exec =
        |argv| ExecRequest { argv, env: Vec::new(), timeout: PATIENCE, output_bytes_max: 100 };
    let too_soon = containerizer.exec(&early, exec(spell(Payload::Exit(0)))).await;
    assert!(matches!(too_soon, Err(ContainerError::WrongState { .. })), "{too_soon:?}");
    containerizer.kill(&early, None).await.unwrap();
    assert_eq!(exit_of(events, &early).await.outcome, Outcome::NeverStarted);
    containerizer.destroy(&early).await.unwrap();

    // A running task: go may be repeated, commands run beside it, kill follows the policy.
    let run = launch(containerizer, spec("run", Payload::Run)).await;
    started(events, &run).await;
    containerizer.go(&run).await.unwrap();
    let result = containerizer.exec(&run, exec(spell(Payload::Exit(4)))).await.unwrap();
    assert_eq!(result.exit, ExecExit::Code(4));
    let result = containerizer.exec(&run, exec(spell(Payload::Missing))).await.unwrap();
    assert!(
        matches!(result.exit, ExecExit::LaunchFailed { errno: libc::ENOENT, .. }),
        "{result:?}"
    );
    let policy = KillPolicy { signal: libc::SIGTERM, grace: PATIENCE };
    containerizer.kill(&run, Some(policy)).await.unwrap();
    let exit = exit_of(events, &run).await;
    assert_eq!(exit.outcome, Outcome::Signal(libc::SIGTERM));
    assert_eq!((exit.cause, exit.forced), (StopCause::KillRequested, false));
    containerizer.kill(&run, None).await.unwrap();
    containerizer.destroy(&run).await.unwrap();

    // A plain signal has no consequence of ours; who ignores it runs on until he is killed.
    let stubborn = launch(containerizer, spec("stubborn", Payload::IgnoreTerm)).await;
    started(events, &stubborn).await;
    eventually("it ignores the signal by now", is_armed).await;
    containerizer.signal(&stubborn, libc::SIGTERM).await.unwrap();
    containerizer.kill(&stubborn, at_once()).await.unwrap();
    let exit = exit_of(events, &stubborn).await;
    assert_eq!((exit.outcome, exit.forced), (Outcome::Signal(libc::SIGKILL), true));
    containerizer.destroy(&stubborn).await.unwrap();

    // What is not there is said to be so; what can never be is refused.
    let nobody = id("nobody");
    assert!(matches!(containerizer.go(&nobody).await, Err(ContainerError::Unknown { .. })));
    assert!(matches!(containerizer.usage(&nobody).await, Err(ContainerError::Unknown { .. })));
    containerizer.destroy(&nobody).await.unwrap();
    let mut wrong = spec("wrong", Payload::Run);
    wrong.argv.clear();
    let refused = containerizer.prepare(wrong).await;
    assert!(matches!(refused, Err(ContainerError::InvalidSpec { field: "argv", .. })));

    // Orphans are those that are not to be kept.
    let kept = launch(containerizer, spec("kept", Payload::Run)).await;
    let orphan = launch(containerizer, spec("orphan", Payload::Run)).await;
    let removed = containerizer.cleanup_orphans(std::slice::from_ref(&kept)).await.unwrap();
    assert_eq!(removed, [orphan]);
    containerizer.kill(&kept, at_once()).await.unwrap();
    exit_of(events, &kept).await;
    containerizer.destroy(&kept).await.unwrap();
}

#[tokio::test]
async fn the_fake_keeps_the_promises() {
    let (fake, mut events) = FakeContainerizer::new();
    let spell = |payload| {
        let words: &[&str] = match payload {
            Payload::Exit(code) => &["fake", "exit", &code.to_string()],
            Payload::Signal(number) => &["fake", "signal", &number.to_string()],
            Payload::Run => &["fake", "run"],
            Payload::IgnoreTerm => &["fake", "ignore-term"],
            Payload::Missing => &["fake", "missing"],
        };
        words.iter().map(|w| (*w).to_owned()).collect()
    };
    keeps_the_promises(&fake, &mut events, Path::new("/nowhere"), &spell, &|| true).await;
}

fn spell_for_real(payload: Payload) -> Vec<String> {
    let script = match payload {
        Payload::Exit(code) => format!("exit {code}"),
        Payload::Signal(number) => format!("kill -{number} $$"),
        Payload::Run => "exec sleep 1000".to_owned(),
        Payload::IgnoreTerm => "trap '' TERM; : > armed; while :; do sleep 1000; done".to_owned(),
        Payload::Missing => return vec!["/nowhere/program".to_owned()],
    };
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn the_real_one_keeps_the_promises() {
    let Some(mut bed) = Bed::new() else { return };
    let sandbox = bed.temp.path().join("sandbox");
    fs::create_dir(&sandbox).unwrap();
    let linux = bed.linux.take().unwrap();
    let armed = sandbox.join("armed");
    keeps_the_promises(&linux, &mut bed.events, &sandbox, &spell_for_real, &|| armed.exists())
        .await;
    bed.linux = Some(linux);
    bed.assert_clean().await;
}

/// K20: also without namespaces and control groups, at the level that says so.
#[tokio::test]
async fn the_process_level_keeps_the_promises() {
    let level = IsolationChoice::Exactly(IsolationLevel::Process);
    let mut bed = Bed::with(level).expect("this level needs nothing");
    let sandbox = bed.temp.path().join("sandbox");
    fs::create_dir(&sandbox).unwrap();
    let linux = bed.linux.take().unwrap();
    assert_eq!(linux.isolation().level, IsolationLevel::Process);
    assert!(!linux.isolation().withheld.is_empty());
    let armed = sandbox.join("armed");
    keeps_the_promises(&linux, &mut bed.events, &sandbox, &spell_for_real, &|| armed.exists())
        .await;
    bed.linux = Some(linux);
    bed.assert_clean().await;
}

// --- limits ---

/// What the kernel killed in the group and how the task itself ended are two facts.
#[tokio::test]
async fn a_task_outlives_its_child_that_was_killed_for_memory() {
    let Some(mut bed) = Bed::new() else { return };
    let hog = "perl -e 'my $x; for (1..200) { $x .= chr(65) x (1<<20); }'";
    let script = format!("{hog}; test $? -eq 137 && exit 3; exit 4");
    let mut spec = bed.shell("parent", &script);
    spec.memory_bytes = Some(64 << 20);
    let (exit, _) = bed.run(spec).await;
    assert_eq!((exit.outcome, exit.oom_killed), (Outcome::Code(3), true));
    bed.assert_clean().await;
}

#[tokio::test]
async fn a_memory_hog_is_killed_at_its_limit_and_says_so() {
    let Some(mut bed) = Bed::new() else { return };
    let hog = "my $x; for (1..200) { $x .= chr(65) x (1<<20); } print 'survived';";
    let mut spec = bed.spec("hog", &["perl", "-e", hog]);
    spec.memory_bytes = Some(64 << 20);
    let neighbour = bed.launch(bed.shell("neighbour", "echo up; exec sleep 1000")).await;
    let (exit, output) = bed.run(spec).await;
    assert_eq!(exit.outcome, Outcome::Signal(libc::SIGKILL));
    assert!(exit.oom_killed, "{exit:?}");
    assert_eq!(output, "");
    let mut modest = bed.spec("modest", &["perl", "-e", "my $x = 'a' x (8<<20); print 'fine'"]);
    modest.memory_bytes = Some(64 << 20);
    let (exit, output) = bed.run(modest).await;
    assert_eq!((exit.outcome, exit.oom_killed, output.as_str()), (Outcome::Code(0), false, "fine"));
    still_runs_and_ends(&mut bed, &neighbour).await;
    bed.assert_clean().await;
}

#[tokio::test]
async fn a_fork_bomb_stops_at_its_pids_limit() {
    let Some(mut bed) = Bed::new() else { return };
    let bomb = "$|=1; my $n = 0; for (1..200) { my $p = fork; if (!defined $p) { last } \
                if (!$p) { sleep 1000 } $n++ } print \"$n\\n\"; kill 9, 0;";
    let mut spec = bed.spec("bomb", &["perl", "-e", bomb]);
    spec.pids_max = Some(20);
    let neighbour = bed.launch(bed.shell("neighbour", "echo up; exec sleep 1000")).await;
    let (_, output) = bed.run(spec).await;
    // The task itself is one of its twenty.
    assert_eq!(output.trim(), "19");
    still_runs_and_ends(&mut bed, &neighbour).await;
    bed.assert_clean().await;
}

async fn still_runs_and_ends(bed: &mut Bed, neighbour: &ContainerId) {
    bed.output_holds(neighbour, "up").await;
    bed.get().kill(neighbour, None).await.unwrap();
    let exit = bed.exit(neighbour).await;
    assert_eq!(exit.outcome, Outcome::Signal(libc::SIGTERM), "the neighbour was disturbed");
    bed.get().destroy(neighbour).await.unwrap();
}

#[tokio::test]
async fn a_cpu_hog_is_throttled_and_its_use_is_counted() {
    let Some(bed) = Bed::new() else { return };
    let mut spec = bed.shell("hog", "while :; do :; done");
    spec.cpu_millis = Some(50);
    spec.memory_bytes = Some(32 << 20);
    let id = bed.launch(spec).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let usage = bed.get().usage(&id).await.unwrap();
        if usage.cpu_throttled_periods.is_some_and(|n| n > 2) {
            assert!(usage.cpu_ns.is_some_and(|ns| ns > 0), "{usage:?}");
            assert!(usage.memory_bytes.is_some_and(|b| b <= 32 << 20), "{usage:?}");
            assert!(usage.pids.is_some_and(|n| n >= 2), "{usage:?}");
            break;
        }
        assert!(Instant::now() < deadline, "never throttled: {usage:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bed.get().destroy(&id).await.unwrap();
    bed.assert_clean().await;
}

// --- ending ---

#[tokio::test]
async fn who_ignores_the_signal_dies_after_the_grace_with_all_his_children() {
    let Some(mut bed) = Bed::new() else { return };
    let script = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; echo ready; \
                  while :; do sleep 1000; done";
    let mut spec = bed.shell("stubborn", script);
    spec.kill_policy = KillPolicy { signal: libc::SIGTERM, grace: Duration::from_millis(200) };
    let id = bed.launch(spec).await;
    bed.output_holds(&id, "ready").await;
    let before = BootTime::now();
    bed.get().kill(&id, None).await.unwrap();
    let exit = bed.exit(&id).await;
    assert_eq!(exit.outcome, Outcome::Signal(libc::SIGKILL));
    assert_eq!((exit.cause, exit.forced), (StopCause::KillRequested, true));
    assert!(exit.exited_at.unwrap().0 - before.0 >= 200_000_000, "the grace was cut short");
    bed.get().destroy(&id).await.unwrap();
    bed.assert_clean().await;
}

/// As users expect it: the task is an ordinary process, which SIGTERM ends unless it says
/// otherwise, and what it leaves behind ends with it.
#[tokio::test]
async fn the_default_action_of_signals_works_and_daemons_end_with_the_task() {
    let Some(mut bed) = Bed::new() else { return };
    let id = bed.launch(bed.spec("plain", &["sleep", "1000"])).await;
    let pid = started(&mut bed.events, &id).await;
    assert!(alive(pid));
    bed.get().signal(&id, libc::SIGTERM).await.unwrap();
    assert_eq!(bed.exit(&id).await.outcome, Outcome::Signal(libc::SIGTERM));
    bed.get().destroy(&id).await.unwrap();
    let daemon = bed.shell("daemon", "(setsid sleep 1000 &); exit 0");
    let (exit, _) = bed.run(daemon).await;
    assert_eq!(exit.outcome, Outcome::Code(0));
    bed.assert_clean().await;
}

/// K13: the supervisor counts from the last grant, without any agent.
#[tokio::test]
async fn without_grants_a_task_ends_though_no_agent_lives() {
    let Some(mut bed) = Bed::new() else { return };
    let mut spec = bed.shell("leased", "echo up; exec sleep 1000");
    // Long enough for an emulated machine to get as far as `up`.
    spec.stop_after = Some(Duration::from_secs(3));
    let id = bed.launch(spec).await;
    bed.output_holds(&id, "up").await;
    bed.get().grant(&id, BootTime::now()).await.unwrap();
    bed.linux = None;
    let exit_file = bed.run_dir(&id).join("exit");
    eventually("the exit is recorded", || exit_file.exists()).await;
    bed.restart().await;
    let recovery = bed.get().recover(std::slice::from_ref(&id)).await.unwrap();
    let RecoveredState::Exited(exit) = &recovery.containers[0].state else {
        panic!("{recovery:?}")
    };
    assert_eq!(
        (&exit.outcome, exit.cause),
        (&Outcome::Signal(libc::SIGTERM), StopCause::GrantExpired)
    );
    bed.get().destroy(&id).await.unwrap();
    bed.assert_clean().await;
}

// --- crashes ---

/// K14: what runs without a supervisor is killed, and its end is never called success.
#[tokio::test]
async fn a_killed_supervisor_takes_its_container_with_it() {
    let Some(mut bed) = Bed::new() else { return };
    supervisor_lost(&mut bed).await;
    bed.assert_clean().await;
}

/// The same at level `process`, where no kernel object holds the task's processes together.
#[tokio::test]
async fn a_killed_supervisor_at_the_process_level_as_well() {
    let level = IsolationChoice::Exactly(IsolationLevel::Process);
    let mut bed = Bed::with(level).expect("this level needs nothing");
    supervisor_lost(&mut bed).await;
    bed.assert_clean().await;
}

async fn supervisor_lost(bed: &mut Bed) {
    let id = bed.launch(bed.shell("lost", "(setsid sleep 1000 &); echo up; exec sleep 1000")).await;
    let pid = started(&mut bed.events, &id).await;
    bed.output_holds(&id, "up").await;
    let supervisor = nix::unistd::Pid::from_raw(bed.supervisor_pid(&id));
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    let exit = bed.exit(&id).await;
    assert_eq!(exit.outcome, Outcome::SupervisorLost);
    assert!(!alive(pid), "the task outlived its supervisor");
    bed.get().destroy(&id).await.unwrap();
}

#[tokio::test]
async fn a_new_agent_adopts_what_runs_and_learns_what_ended() {
    let Some(mut bed) = Bed::new() else { return };
    let runs = bed.launch(bed.shell("runs", "echo up; exec sleep 1000")).await;
    let ends = bed.launch(bed.shell("ends", "echo up; read line < go; exit 7")).await;
    let lost = bed.launch(bed.shell("lost", "echo up; exec sleep 1000")).await;
    let stranger = bed.launch(bed.shell("stranger", "echo up; exec sleep 1000")).await;
    let pid = started(&mut bed.events, &runs).await;
    for id in [&runs, &lost, &stranger] {
        bed.output_holds(id, "up").await;
    }
    let waiting = bed.shell("waiting", "echo ran > ran");
    let (waiting, waiting_sandbox) = (waiting.id.clone(), waiting.sandbox.clone());
    bed.get().prepare(bed.shell("waiting", "echo ran > ran")).await.unwrap();
    let absent = id("absent");

    let supervisor = nix::unistd::Pid::from_raw(bed.supervisor_pid(&lost));
    bed.linux = None;
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    let exit_file = bed.run_dir(&ends).join("exit");
    eventually("it ended without an agent", || exit_file.exists()).await;
    bed.restart().await;

    let expected = [runs.clone(), ends.clone(), lost.clone(), waiting.clone(), absent];
    let recovery = bed.get().recover(&expected).await.unwrap();
    let states: Vec<&RecoveredState> = recovery.containers.iter().map(|c| &c.state).collect();
    assert!(matches!(states[0], RecoveredState::Running { pid: p, .. } if *p == pid), "{states:?}");
    // `go` in its sandbox is missing, so `read` failed and the shell went on to its exit.
    let outcome = |state: &RecoveredState| match state {
        RecoveredState::Exited(exit) => exit.outcome.clone(),
        RecoveredState::Running { .. } | RecoveredState::Absent => panic!("{state:?}"),
    };
    assert_eq!(outcome(states[1]), Outcome::Code(7));
    assert_eq!(outcome(states[2]), Outcome::SupervisorLost);
    assert_eq!(outcome(states[3]), Outcome::NeverStarted);
    assert_eq!(states[4], &RecoveredState::Absent);
    assert_eq!(recovery.orphans, std::slice::from_ref(&stranger));
    assert!(!waiting_sandbox.join("ran").exists(), "it ran without a go");
    assert!(alive(pid), "the agent's restart disturbed a task");

    // The adopted one is under control again; the rest can be removed.
    let removed = bed.get().cleanup_orphans(&expected).await.unwrap();
    assert_eq!(removed, [stranger]);
    bed.get().kill(&runs, None).await.unwrap();
    assert_eq!(bed.exit(&runs).await.outcome, Outcome::Signal(libc::SIGTERM));
    for id in &expected {
        bed.get().destroy(id).await.unwrap();
    }
    bed.assert_clean().await;
}

/// K14: the agent, its supervisor or both die at any moment of a launch; what is found afterwards
/// is the truth, no task ran twice, and nothing is left (I12).
#[tokio::test]
async fn a_crash_at_any_moment_of_a_launch_is_recovered_from() {
    let Some(mut bed) = Bed::new() else { return };
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    for round in 0..40 {
        let spec = bed.shell(&format!("crash{round}"), "echo ran >> ran; exec sleep 1000");
        let (id, ran) = (spec.id.clone(), spec.sandbox.join("ran"));
        let delay = Duration::from_micros(random.random_range(0..12_000));
        let (agent_dies, supervisor_dies) = [(true, false), (false, true), (true, true)][round % 3];
        let launched = async {
            let linux = bed.get();
            linux.prepare(spec).await?;
            linux.go(&id).await
        };
        // Stops waiting at some moment; what is under way goes on, as it would in a real crash.
        let _ = timeout(delay, launched).await;
        if supervisor_dies && let Ok(pid) = fs::read_to_string(bed.run_dir(&id).join("lock")) {
            let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap_or(i32::MAX));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        if agent_dies {
            bed.restart().await;
            let recovery = bed.get().recover(std::slice::from_ref(&id)).await.unwrap();
            match &recovery.containers[0].state {
                RecoveredState::Running { pid, .. } => {
                    assert!(!supervisor_dies || alive(*pid), "seed {seed} round {round}");
                }
                RecoveredState::Exited(exit) => {
                    let never = exit.outcome == Outcome::NeverStarted;
                    let lost = exit.outcome == Outcome::SupervisorLost;
                    assert!(never || lost, "seed {seed} round {round}: {exit:?}");
                    assert!(!(never && ran.exists()), "seed {seed} round {round}: it did run");
                }
                RecoveredState::Absent => assert!(!ran.exists(), "seed {seed} round {round}"),
            }
            bed.keep_the_promise(&id, &recovery.containers[0].state).await;
        }
        bed.get().destroy(&id).await.unwrap();
        let times = fs::read_to_string(&ran).unwrap_or_default().lines().count();
        assert!(times <= 1, "seed {seed} round {round}: it ran {times} times");
    }
    let orphans = bed.get().cleanup_orphans(&[]).await.unwrap();
    assert_eq!(orphans, [], "seed {seed}");
    bed.assert_clean().await;
}

/// What the agent's unit gives the agent, so that it outlives its tasks, is not for the tasks.
#[tokio::test]
async fn a_task_is_not_spared_as_its_agent_is() {
    let Some(mut bed) = Bed::new() else { return };
    let own = "/proc/self/oom_score_adj";
    let before = fs::read_to_string(own).unwrap();
    if let Err(error) = fs::write(own, "-500") {
        eprintln!("no process may be spared here ({error}): that it is taken back is not shown");
    }
    let spec = bed.shell("killable", "cat /proc/self/oom_score_adj; ulimit -Sn");
    let (exit, said) = bed.run(spec).await;
    fs::write(own, before).unwrap();
    assert_eq!(exit.outcome, Outcome::Code(0));
    assert_eq!(said, "0\n1024\n");
    bed.assert_clean().await;
}

/// K1, K14: what a preparation or a removal that was cut off leaves is no task that ran, and no reason not
/// to keep the promise.
#[tokio::test]
async fn half_a_preparation_or_removal_is_made_again() {
    let Some(mut bed) = Bed::new() else { return };
    let only_directory = bed.shell("only-directory", "true").id;
    fs::create_dir(bed.run_dir(&only_directory)).unwrap();
    let spec = bed.shell("half-removed", "true");
    let half_removed = spec.id.clone();
    bed.get().prepare(spec).await.unwrap();
    fs::remove_file(bed.run_dir(&half_removed).join("spec")).unwrap();
    bed.restart().await;
    for id in [only_directory, half_removed] {
        let recovery = bed.get().recover(std::slice::from_ref(&id)).await.unwrap();
        bed.keep_the_promise(&id, &recovery.containers[0].state).await;
        bed.get().destroy(&id).await.unwrap();
    }
    bed.assert_clean().await;
}

/// K1, K14: a prepared container whose agent dies before `go` never runs, whatever comes later.
#[tokio::test]
async fn without_go_nothing_runs() {
    let Some(mut bed) = Bed::new() else { return };
    let spec = bed.shell("waiting", "echo ran > ran");
    let (id, sandbox) = (spec.id.clone(), spec.sandbox.clone());
    let prepared = bed.get().prepare(spec).await.unwrap();
    assert!(alive(prepared.supervisor_pid));
    bed.linux = None;
    eventually("its supervisor withdraws", || !alive(prepared.supervisor_pid)).await;
    assert!(!bed.run_dir(&id).join("started").exists());
    assert!(!sandbox.join("ran").exists());
    bed.restart().await;
    bed.get().destroy(&id).await.unwrap();
    bed.assert_clean().await;
}

#[tokio::test]
async fn a_failed_step_leaves_nothing_behind() {
    let Some(mut bed) = Bed::new() else { return };
    let mut spec = bed.shell("nowhere", "true");
    spec.working_dir = Some(PathBuf::from("/nowhere/at/all"));
    let (exit, _) = bed.run(spec).await;
    let step = "enter the working directory".to_owned();
    assert_eq!(exit.outcome, Outcome::LaunchFailed { step, errno: libc::ENOENT });
    let mut spec = bed.shell("limits", "true");
    let limit = Some(1 << 40);
    spec.rlimits = vec![Rlimit { resource: RlimitResource::Nofile, soft: limit, hard: limit }];
    let (exit, _) = bed.run(spec).await;
    assert!(matches!(exit.outcome, Outcome::LaunchFailed { errno: libc::EPERM, .. }), "{exit:?}");
    // Here the preparation itself fails: the place of the log is taken by a directory.
    let spec = bed.shell("blocked", "true");
    fs::create_dir(spec.sandbox.join("stdout")).unwrap();
    let error = bed.get().prepare(spec).await.unwrap_err();
    assert!(error.to_string().contains("open the log files"), "{error}");
    bed.assert_clean().await;
}

// --- what the task sees ---

/// C8: descriptors, capabilities, no_new_privs, namespaces, masked and read-only paths.
#[tokio::test]
async fn the_task_sees_what_the_policy_says() {
    let Some(mut bed) = Bed::new() else { return };
    let (_, output) = bed.run(bed.spec("fds", &["ls", "/proc/self/fd"])).await;
    // The fourth is the directory that `ls` itself reads.
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);

    let fields = "grep -E '^(Cap|NoNewPrivs|Groups|Uid|Gid|SigIgn|SigBlk)' /proc/self/status";
    let (_, output) = bed.run(bed.shell("root-caps", fields)).await;
    let value = |output: &str, name: &str| {
        let line = output.lines().find_map(|l| l.strip_prefix(&format!("{name}:")).map(str::trim));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let policy = "00000000a00405fb";
    for (name, expected) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", policy),
        ("CapEff", policy),
        ("CapBnd", policy),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("SigIgn", "0000000000000000"),
        ("SigBlk", "0000000000000000"),
    ] {
        assert_eq!(value(&output, name), expected, "{name} in\n{output}");
    }

    let mut spec = bed.shell("user-caps", &format!("{fields}; echo x > /dev/stdout"));
    spec.user = ContainerUser { uid: 65534, gid: 65533, supplementary_gids: vec![7, 8] };
    std::os::unix::fs::chown(&spec.sandbox, Some(65534), Some(65533)).unwrap();
    let (exit, output) = bed.run(spec).await;
    assert_eq!(exit.outcome, Outcome::Code(0), "{output}");
    assert_eq!(value(&output, "CapEff"), "0000000000000000");
    assert_eq!(value(&output, "CapPrm"), "0000000000000000");
    assert_eq!(value(&output, "Uid"), "65534 65534 65534 65534");
    assert_eq!(value(&output, "Gid"), "65533 65533 65533 65533");
    assert_eq!(value(&output, "Groups"), "7 8");

    let script = "hostname; ls /proc | grep -c '^[0-9]'; cat /proc/kcore | wc -c; \
        (echo 1 > /proc/sysrq-trigger) 2>/dev/null || echo read-only; \
        (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo read-only; \
        for f in $(find /sys/fs/cgroup -name cgroup.procs 2>/dev/null | head -3); do \
          (echo $$ > $f) 2>/dev/null || echo stays; done | sort -u; \
        ls /run/proffer-test* -d >/dev/null 2>&1; \
        mknod n c 1 3 2>/dev/null || echo no-node; \
        mount -t tmpfs t /mnt 2>/dev/null || echo no-mount; \
        [ -c /dev/null ] && [ ! -e /dev/vda ] && [ ! -e /dev/sda ] && echo own-dev; ulimit -n";
    let mut spec = bed.shell("view", script);
    spec.hostname = Some("inside".to_owned());
    spec.rlimits =
        vec![Rlimit { resource: RlimitResource::Nofile, soft: Some(99), hard: Some(99) }];
    let (_, output) = bed.run(spec).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "inside");
    assert!(lines[1].parse::<u32>().unwrap() <= 6, "sees other processes: {output}");
    let rest = ["0", "read-only", "read-only", "stays", "no-node", "no-mount", "own-dev", "99"];
    assert_eq!(&lines[2..], rest);
    bed.assert_clean().await;
}

/// C8 (CVE-2019-5736, CVE-2019-0204): nobody inside can change the program that others run.
#[tokio::test]
async fn the_supervisors_program_cannot_be_changed_from_inside() {
    let Some(mut bed) = Bed::new() else { return };
    let script = "for f in /proc/1/exe /proc/self/exe; do \
        (true 3<>$f) 2>/dev/null && echo opened $f; done; \
        cat /proc/1/environ /proc/1/mem 2>/dev/null | head -c 1 | wc -c; \
        kill -9 1; kill -TERM 1; echo alive";
    let (exit, output) = bed.run(bed.shell("attack", script)).await;
    assert_eq!(exit.outcome, Outcome::Code(0));
    assert!(!output.contains("opened /proc/1/exe"), "{output}");
    assert!(output.ends_with("0\nalive\n"), "{output}");
    bed.assert_clean().await;
}

#[tokio::test]
async fn a_root_directory_is_all_there_is() {
    let Some(mut bed) = Bed::new() else { return };
    let root = bed.temp.path().join("root");
    make_root(&root);
    let mut spec =
        bed.spec("rooted", &["/bin/sh", "-c", "pwd; echo kept > file; echo /*; ls /sys | wc -l"]);
    spec.root_dir = Some(root.clone());
    let sandbox = spec.sandbox.clone();
    let (exit, output) = bed.run(spec).await;
    assert_eq!(exit.outcome, Outcome::Code(0), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "/sandbox");
    let seen: BTreeSet<&str> = lines[1].split(' ').collect();
    assert!(seen.is_superset(&["/bin", "/dev", "/proc", "/sandbox"].into()), "{output}");
    assert!(!seen.contains("/work") && !seen.contains("/home"), "{output}");
    assert_eq!(fs::read_to_string(sandbox.join("file")).unwrap(), "kept\n");
    assert!(fs::read_dir(root.join("sandbox")).unwrap().next().is_none());
    bed.assert_clean().await;
}

/// A root directory with a shell and what it links with, bound by copying.
fn make_root(root: &Path) {
    let copy = |file: &Path| {
        let to = root.join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    };
    for program in ["/bin/sh", "/bin/ls", "/usr/bin/wc"] {
        copy(Path::new(program));
        let ldd = std::process::Command::new("ldd").arg(program).output().unwrap();
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            if word.starts_with('/') {
                copy(Path::new(word));
            }
        }
    }
    let _ = std::os::unix::fs::symlink("usr/bin", root.join("sbin"));
}

#[tokio::test]
async fn commands_run_inside_with_their_output_cut_and_their_time_bounded() {
    let Some(mut bed) = Bed::new() else { return };
    let mut spec = bed.shell("host", "echo up; exec sleep 1000");
    spec.hostname = Some("inside".to_owned());
    spec.env.push(("OWN".to_owned(), "1".to_owned()));
    let id = bed.launch(spec).await;
    bed.output_holds(&id, "up").await;
    let exec = |script: &str, timeout| ExecRequest {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("ADDED".to_owned(), "2".to_owned())],
        timeout,
        output_bytes_max: 64,
    };
    let request = exec("hostname; echo $OWN$ADDED; pwd >&2; exit 5", PATIENCE);
    let result = bed.get().exec(&id, request).await.unwrap();
    assert_eq!(result.exit, ExecExit::Code(5));
    let sandbox = bed.temp.path().join("sandbox-host");
    let expected = format!("inside\n12\n{}\n", sandbox.display());
    assert_eq!(String::from_utf8(result.output).unwrap(), expected);
    let flood = exec("head -c 100000 /dev/zero; kill -9 $$", PATIENCE);
    let result = bed.get().exec(&id, flood).await.unwrap();
    assert_eq!(
        (result.exit, result.output.len(), result.truncated),
        (ExecExit::Signal(9), 64, true)
    );
    let endless = exec("sleep 1000 & sleep 1000", Duration::from_millis(100));
    let result = bed.get().exec(&id, endless).await.unwrap();
    assert_eq!(result.exit, ExecExit::TimedOut);
    // The task was not disturbed, and ends with a command still running.
    let running = bed.get().exec(&id, exec("sleep 1000", PATIENCE));
    let kill = async {
        tokio::task::yield_now().await;
        bed.get().kill(&id, None).await.unwrap();
    };
    let (running, ()) = tokio::join!(running, kill);
    assert!(!matches!(running, Ok(ref r) if r.exit == ExecExit::Code(0)), "{running:?}");
    assert_eq!(bed.exit(&id).await.outcome, Outcome::Signal(libc::SIGTERM));
    bed.get().destroy(&id).await.unwrap();
    bed.assert_clean().await;
}

// --- output ---

#[tokio::test]
async fn kept_output_is_complete_up_to_its_bound() {
    let Some(mut bed) = Bed::new() else { return };
    let mut spec = bed.spec(
        "flood",
        &["perl", "-e", "for (1..100000) { printf qq(%08d\\n), $_ } print STDERR 'err'"],
    );
    spec.log = LogLimits { bytes_per_file_max: 90_000, files_max: 3 };
    let sandbox = spec.sandbox.clone();
    let (exit, last) = bed.run(spec).await;
    assert_eq!((exit.outcome, exit.log_bytes_dropped), (Outcome::Code(0), 0));
    assert!(last.ends_with("00100000\n"), "the end is missing");
    let names: BTreeSet<String> = fs::read_dir(&sandbox)
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["stderr", "stdout", "stdout.1", "stdout.2"].map(str::to_owned).into());
    for name in ["stdout.1", "stdout.2"] {
        assert_eq!(fs::metadata(sandbox.join(name)).unwrap().len(), 90_000);
    }
    let all: String = ["stdout.2", "stdout.1", "stdout"]
        .iter()
        .map(|n| fs::read_to_string(sandbox.join(n)).unwrap())
        .collect();
    let numbers: Vec<u32> = all.lines().map(|l| l.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "a line is missing or twice");
    assert_eq!(fs::read_to_string(sandbox.join("stderr")).unwrap(), "err");
    bed.assert_clean().await;
}

// --- size ---

/// P13: prints what one supervisor costs beside others; asserts only a generous bound.
#[tokio::test]
async fn a_supervisor_is_small() {
    let Some(mut bed) = Bed::new() else { return };
    let mut ids = Vec::new();
    for n in 0..3 {
        let id = bed.launch(bed.shell(&format!("small{n}"), "echo up; exec sleep 1000")).await;
        bed.output_holds(&id, "up").await;
        started(&mut bed.events, &id).await;
        ids.push(id);
    }
    let supervisor = bed.supervisor_pid(&ids[1]);
    let init = children_of(supervisor).into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "proffer-init")
    });
    let (resident, private) = memory_kib(supervisor);
    let (init_resident, init_private) = memory_kib(init.expect("the container has an init"));
    println!(
        "P13 supervisor: resident {resident} KiB, private {private} KiB; \
         init: resident {init_resident} KiB, private {init_private} KiB"
    );
    assert!(resident <= 3 << 10, "resident memory {resident} KiB");
    assert!(private + init_private <= 512, "private memory {private} + {init_private} KiB");
    for id in &ids {
        bed.get().destroy(id).await.unwrap();
    }
    bed.assert_clean().await;
}

fn children_of(parent: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    text.split_whitespace().map(|p| p.parse().unwrap()).collect()
}

/// Resident and private memory.
fn memory_kib(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (value("Rss:"), value("Private_Clean:") + value("Private_Dirty:"))
}
