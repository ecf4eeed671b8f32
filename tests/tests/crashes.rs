//! `kill -9` of real `master`, `agent` and `framework service` processes, each alone and all at once,
//! at moments drawn from a seed, during rolling updates. Each instance writes its start to a file:
//! in the end every slot has run once per revision, no task has run twice (I2), none was restarted
//! without cause.

use proffer_tests::cluster::{Parts, free_port};
use proffer_tests::processes::{
    PATIENCE, Place, Program, binary, is_long, is_root, pause, tree, turn, until,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Slots of the service, and blows during its rolling updates: twenty that kill, four that ask.
const INSTANCES: u32 = 50;
const BLOWS: usize = 24;
/// Runs of the long suite, each with a seed of its own.
const LONG_RUNS: u64 = 10;

/// One service whose instances note `slot revision directory` when they start. The directory is the
/// sandbox, whose name holds the launch token.
fn service(log: &Path, version: u32) -> String {
    format!(
        "schema: service/v1
services:
  many:
    instances: {INSTANCES}
    command: [/bin/sh, -c, 'echo \"$SLOT $VERSION $PWD\" >> {log}; exec sleep 100000']
    env: {{SLOT: '${{meta.slot}}', VERSION: '{version}'}}
    resources: {{request: {{cpu: 0.01, mem: 16Mi}}}}
    stop: {{drain: {{linger: 0s}}, signal: KILL, grace: 0s}}
    rollout: {{min_available_time: 100ms, surge: 3, progress_deadline: 10m}}
",
        log = log.display()
    )
}

/// Starts by slot and version, with the sandboxes in which they happened.
fn starts(log: &Path) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        let mut words = line.split(' ').map(str::to_owned);
        let (Some(slot), Some(version), Some(directory)) =
            (words.next(), words.next(), words.next())
        else {
            panic!("a line that no instance writes: {line:?}");
        };
        found.entry((slot, version)).or_default().push(directory);
    }
    found
}

/// Which of the parts a blow hits.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Master,
    Agent(usize),
    Framework,
    All,
    /// One agent is not killed but asked to end (SIGTERM), in the middle of what it does.
    Stop(usize),
}

fn strike(parts: &mut Parts, blow: Blow) {
    if let Blow::Master | Blow::All = blow {
        parts.master.take().into_iter().for_each(|mut it| it.kill());
    }
    if let Blow::Framework | Blow::All = blow {
        parts.framework.take().into_iter().for_each(|mut it| it.kill());
    }
    if let Blow::Stop(number) = blow
        && let Some(mut agent) = parts.agents[number].take()
    {
        agent.signal(nix::sys::signal::Signal::SIGTERM);
        agent.end(PATIENCE);
    }
    for number in 0..parts.agents.len() {
        if matches!(blow, Blow::All) || matches!(blow, Blow::Agent(it) if it == number) {
            parts.agents[number].take().into_iter().for_each(|mut it| it.kill());
        }
    }
}

fn raise(parts: &mut Parts) {
    if parts.master.is_none() {
        parts.start_master();
    }
    for number in 0..parts.agents.len() {
        if parts.agents[number].is_none() {
            parts.start_agent(number);
        }
    }
    if parts.framework.is_none() {
        parts.start_framework();
    }
}

/// Whether all instances are of `revision`, and no rollout goes on.
fn settled(parts: &Parts, revision: u64) -> Option<()> {
    let view = parts.api.json("/v1/services/many");
    let it = &view["summary"];
    let good = it["ready"] == INSTANCES
        && it["instances"] == INSTANCES
        && it["old"] == 0
        && it["revision"] == revision
        && it["rollout"]["state"] == "succeeded";
    good.then_some(())
}

/// The seeds to run: the one that is asked for, else drawn from the clock, so that every run of the
/// gate strikes at moments of its own.
fn seeds() -> Vec<u64> {
    if let Ok(text) = std::env::var("PROFFER_TEST_SEED") {
        return vec![text.parse().expect("PROFFER_TEST_SEED is a number")];
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let first = since.map_or(0, |since| since.as_secs());
    let runs = if is_long() { LONG_RUNS } else { 1 };
    (first..first + runs).collect()
}

#[test]
fn killed_processes_change_nothing_about_how_a_rolling_update_ends() {
    let _turn = turn();
    if !is_root("kill -9 during a rolling update") {
        return;
    }
    for seed in seeds() {
        println!("seed {seed} (again with PROFFER_TEST_SEED={seed})");
        story(seed);
    }
}

/// The blows of one seed, then what must be true.
fn story(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parts = Parts::start(2, "cpus:4;mem:4GiB");
    parts.start_framework();
    parts.agents_active(2);
    parts.services_answer();
    let log = parts.place.path().join("starts");
    let file = parts.place.file("1.yaml", &service(&log, 1));
    let _ = parts.cli(&["deploy", &file.to_string_lossy()]).well();
    until("all run", PATIENCE, || settled(&parts, 1));

    let mut revision: u64 = 1;
    let mut during = 0;
    for number in 0..BLOWS {
        // A rolling update goes on at each blow: the next begins when the last is through.
        let rolling =
            parts.api.json("/v1/services/many")["summary"]["rollout"]["state"] == "rolling";
        if !rolling && settled(&parts, revision).is_some() {
            revision += 1;
            let version = u32::try_from(revision).expect("few revisions");
            let file = parts.place.file("next.yaml", &service(&log, version));
            let _ = parts.cli(&["deploy", "-d", &file.to_string_lossy()]).well();
        }
        let blow = match number % 6 {
            0 => Blow::Framework,
            1 | 4 => Blow::Agent(random.random_range(0..2)),
            2 => Blow::Master,
            3 => Blow::All,
            _ => Blow::Stop(random.random_range(0..2)),
        };
        pause(Duration::from_millis(random.random_range(0..600)));
        let state = parts.api.json("/v1/services/many")["summary"]["rollout"]["state"].clone();
        during += u32::from(state == "rolling");
        strike(&mut parts, blow);
        eprintln!("blow {number}: {blow:?}, the rollout to r{revision} is {state}");
        pause(Duration::from_millis(random.random_range(0..300)));
        raise(&mut parts);
        until("services are answered for again", PATIENCE, || {
            parts.api.json("/v1/services/many")["summary"].is_object().then_some(())
        });
    }
    until("the last update is through", PATIENCE * 3, || settled(&parts, revision));
    assert!(during as usize >= BLOWS / 2, "most blows hit a rolling update: {during} of {BLOWS}");

    // Every slot once per version, and nobody in a sandbox of another.
    let starts = starts(&log);
    let mut sandboxes = BTreeMap::new();
    for directory in starts.values().flatten() {
        *sandboxes.entry(directory.clone()).or_insert(0) += 1;
    }
    let twice: Vec<_> = sandboxes.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "tasks that ran twice (I2): {twice:?}");
    let again: Vec<_> = starts.iter().filter(|(_, runs)| runs.len() > 1).collect();
    assert!(again.is_empty(), "slots that were started anew without cause: {again:#?}");
    let slots = usize::try_from(INSTANCES).expect("few");
    let expected = slots * usize::try_from(revision).expect("few");
    assert_eq!(starts.len(), expected, "every slot ran every version");

    // What runs is what the master says, what the service says, and what the machine has.
    let rows = parts.api.json("/v1/tasks");
    let running: Vec<Value> = rows["tasks"].as_array().cloned().unwrap_or_default();
    let running = running.iter().filter(|row| row["state"] == "running").count();
    assert_eq!(running, slots);
    let sleeping = proffer_tests::traces::processes(&parts.place.name);
    let sleeping = sleeping.iter().filter(|(_, words)| words.starts_with("sleep 100000")).count();
    assert_eq!(sleeping, slots, "no process is left over");
    let events = parts.cli(&["events", "many"]).well().out;
    assert!(!events.contains("crashed"), "{events}");
}

#[test]
fn with_default_trust_a_master_that_was_killed_gets_its_agents_and_frameworks_back() {
    let _turn = turn();
    if !is_root("kill -9 of a master with default trust") {
        return;
    }
    let mut parts = Parts::prepare(1, "cpus:1;mem:1GiB").default_trust();
    // Whoever comes first waits for the master, and for its token.
    parts.start_agent(0);
    parts.start_framework();
    parts.start_master();
    parts.learn_token();
    parts.agents_active(1);
    parts.services_answer();
    let token = parts.api.token.clone();
    let left = PathBuf::from(format!("/run/proffer/{}.token", parts.api.address));
    strike(&mut parts, Blow::Master);
    assert!(left.exists(), "a killed master takes nothing away");
    let refused = parts.cli(&["ls"]);
    assert!(refused.err.contains("no master answers"), "{refused:?}");
    let cleaned = parts.cli(&["cleanup"]).well();
    assert!(cleaned.out.contains(&*left.to_string_lossy()) && !left.exists(), "{cleaned:?}");

    parts.start_master();
    parts.agents_active(1);
    parts.services_answer();
    let _ = parts.cli(&["ls"]).well();
    assert_eq!(std::fs::read_to_string(&left).expect("it is left again").trim(), token);

    // A token that was lost is made anew, and all the others find that one.
    strike(&mut parts, Blow::Master);
    let kept = parts.place.path().join("master/token");
    let mode = std::fs::metadata(&kept).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_file(&kept).expect("its directory is ours");
    parts.start_master();
    parts.learn_token();
    assert_ne!(parts.api.token, token);
    parts.agents_active(1);
    parts.services_answer();
    parts.master.take().into_iter().for_each(|mut master| {
        master.signal(nix::sys::signal::Signal::SIGTERM);
        master.end(PATIENCE);
    });
    assert!(!left.exists(), "it goes with a master that ends in good order");
}

/// The number that stands for the unit's user: nobody else's.
const UNIT_USER: u32 = 64_330;

/// A shipped unit: its settings by name.
struct Unit(BTreeMap<String, String>);

impl Unit {
    fn read(name: &str) -> Self {
        let path = tree().join("docs/systemd").join(format!("{name}.service"));
        let text = std::fs::read_to_string(&path).expect("the unit is shipped");
        let settings = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = settings.filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn user(&self) -> u32 {
        match self.get("User") {
            None => 0,
            Some("proffer") => UNIT_USER,
            Some(other) => panic!("a user that proffer.sysusers does not make: {other}"),
        }
    }

    /// Makes its directories as systemd does: those above belong to root.
    fn directories(&self) -> String {
        let user = self.user();
        let of = |setting: &str, top: &str| {
            let Some(name) = self.get(&format!("{setting}Directory")) else { return String::new() };
            let mode = self.get(&format!("{setting}DirectoryMode")).unwrap_or("0755");
            format!(
                "mkdir -p {top}/{name} && chmod {mode} {top}/{name} && chown {user}:{user} {top}/{name} && "
            )
        };
        of("State", "/var/lib") + &of("Runtime", "/run")
    }

    /// Its command, in the namespace of `machine`, as its user.
    fn command(&self, machine: i32, program: &Path, settings: &[(&str, &str)]) -> Command {
        let user = self.user().to_string();
        let mut command = inside(machine);
        command.args(["setpriv", &format!("--reuid={user}"), &format!("--regid={user}")]);
        command.arg("--clear-groups");
        if self.get("NoNewPrivileges") == Some("yes") {
            command.arg("--no-new-privs");
        }
        let words = self.get("ExecStart").expect("it starts something").split(' ').skip(1);
        command.arg(program).args(words);
        let gone = ["XDG_RUNTIME_DIR", "PROFFER_ADDR", "PROFFER_TOKEN_FILE"];
        for name in gone {
            command.env_remove(name);
        }
        if let Some(name) = self.get("RuntimeDirectory") {
            command.env("RUNTIME_DIRECTORY", format!("/run/{name}"));
        }
        command.envs(settings.iter().copied());
        command
    }
}

fn inside(machine: i32) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{machine}/ns/mnt"));
    command
}

/// As far as the shipped units can be followed without systemd: their commands, their users, their
/// directories with owner and mode, each with an own place for temporary files.
#[test]
fn the_shipped_units_make_a_cluster() {
    let _turn = turn();
    if !is_root("the shipped units") {
        return;
    }
    let place = Place::new();
    let program = place.path().join("program");
    std::fs::copy(binary(), &program).expect("the program can be copied");
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("own files");
    };
    open(place.path());
    open(&program);
    let units = ["proffer-master", "proffer-agent", "proffer-framework-service"];
    let units = units.map(|name| (name, Unit::read(name)));
    let directories: String = units.iter().map(|(_, unit)| unit.directories()).collect();
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "sh", "-ec"]).arg(format!(
        "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && {directories}
         echo ready >&2; exec sleep 600"
    ));
    let mut machine = Program::run(&place, "machine", machine);
    machine.says("that its directories are there", |line| (line == "ready").then_some(()));
    let address = format!("127.0.0.1:{}", free_port());
    let cgroup = format!("{}/agent", place.name);
    let settings = |name: &str| match name {
        "proffer-master" => vec![("PROFFER_MASTER_LISTEN", address.as_str())],
        "proffer-agent" => vec![
            ("PROFFER_ADDR", address.as_str()),
            ("PROFFER_AGENT_NAME", "one"),
            ("PROFFER_AGENT_CGROUP_ROOT", cgroup.as_str()),
            ("PROFFER_AGENT_RESOURCES", "cpus:1;mem:1GiB"),
        ],
        _ => vec![("PROFFER_ADDR", address.as_str())],
    };
    let mut running: Vec<Program> = units
        .iter()
        .map(|(name, unit)| {
            let temporary = place.path().join(format!("tmp-{name}"));
            std::fs::create_dir(&temporary).expect("an own place");
            std::os::unix::fs::chown(&temporary, Some(unit.user()), Some(unit.user()))
                .expect("root may");
            let command = unit.command(machine.pid(), &program, &settings(name));
            let mut program = Program::run_in(&place, name, command, &temporary);
            program.says("where it listens", |line| line.contains(" at ").then_some(()));
            program
        })
        .collect();

    // Root's CLI needs nothing said, and finds all three at work.
    let cli = |args: &[&str]| {
        let mut command = inside(machine.pid());
        command.arg(&program).args(args).env("PROFFER_ADDR", &address);
        let mut program = Program::run(&place, "cli", command);
        (program.end(PATIENCE).code(), program.out())
    };
    until("the three have found each other", PATIENCE, || {
        let (code, out) = cli(&["agents", "-o", "json"]);
        let agents: Value = serde_json::from_str(&out).unwrap_or_default();
        (code == Some(0) && agents[0]["condition"] == "active").then_some(())?;
        (cli(&["ls"]).0 == Some(0)).then_some(())
    });
    // The directories of the units do not keep root from running a master by hand.
    let mut command = inside(machine.pid());
    command.arg(&program).args(["master", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(place.path().join("second"));
    let mut second = Program::run(&place, "second", command);
    second.says("where it listens", |line| line.starts_with("master at").then_some(()));
    running.push(second);
    for mut program in running {
        program.signal(nix::sys::signal::Signal::SIGTERM);
        program.end(PATIENCE);
    }
}

/// The blocks of shell commands in `docs/operations.md`.
fn documented_commands() -> Vec<String> {
    let text = std::fs::read_to_string(tree().join("docs/operations.md")).expect("it is there");
    let blocks = text.split("```sh\n").skip(1);
    blocks.filter_map(|block| Some(block.split_once("```")?.0.replace("\\\n", ""))).collect()
}

/// The commands for a cluster of several machines, exactly as the manual has them, with certificates
/// made as it says. The machines are addresses of one loopback device that nobody else has.
#[test]
fn the_documented_commands_with_certificates_make_a_cluster() {
    let _turn = turn();
    if !is_root("the documented commands with certificates") {
        return;
    }
    let place = Place::new();
    let blocks = documented_commands();
    let find = |word: &str| blocks.iter().find(|block| block.contains(word)).expect("documented");
    let mut authority = Command::new("sh");
    authority.args(["-ec", &format!("cd {}\n{}", place.path().display(), find("openssl req"))]);
    let mut authority = Program::run(&place, "authority", authority);
    assert!(authority.end(PATIENCE).success(), "{}", authority.err());
    let mut machine = Command::new("unshare");
    machine.args(["--mount", "--net", "sh", "-ec"]).arg(
        "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && ip link set lo up
         for last in 1 2 3; do ip address add 10.0.0.$last/32 dev lo; done
         echo ready >&2; exec sleep 600",
    );
    let mut machine = Program::run(&place, "machine", machine);
    machine.says("that its addresses are there", |line| (line == "ready").then_some(()));
    let program = binary();
    let path = format!(
        "{}:{}",
        program.parent().expect("it lies somewhere").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let run = |label: &str, words: &str| {
        let mut command = inside(machine.pid());
        command.arg(format!("--net=/proc/{}/ns/net", machine.pid()));
        command.args(["sh", "-ec", &format!("cd {}; exec {words}", place.path().display())]);
        let cgroup = format!("{}/agent", place.name);
        command.env("PATH", &path).env("PROFFER_AGENT_CGROUP_ROOT", cgroup);
        command.env_remove("PROFFER_ADDR").env_remove("PROFFER_TOKEN_FILE");
        Program::run(&place, label, command)
    };
    let lines: Vec<&str> = find("proffer master").lines().collect();
    let [master, agent, framework, cli] = lines[..] else { panic!("four commands: {lines:?}") };
    let mut running = Vec::new();
    for (label, words) in [("master", master), ("agent", agent), ("framework", framework)] {
        let mut program = run(label, words);
        program.says("where it listens", |line| line.contains(" at ").then_some(()));
        running.push(program);
    }
    let cli = |words: &str| {
        let mut program = run("cli", &cli.replacen(" ls ", &format!(" {words} "), 1));
        (program.end(PATIENCE).code(), program.out(), program.err())
    };
    until("services are answered for", PATIENCE, || (cli("ls").0 == Some(0)).then_some(()));
    let text = "schema: service/v1
services:
  one:
    instances: 1
    command: [/bin/sh, -c, 'echo here it is; exec sleep 100000']
    resources: {request: {cpu: 0.01, mem: 16Mi}}
    stop: {drain: {linger: 0s}, signal: KILL, grace: 0s}
    rollout: {min_available_time: 0s}
";
    let file = place.file("one.yaml", text);
    let deployed = cli(&format!("deploy {}", file.display()));
    assert_eq!(deployed.0, Some(0), "{deployed:?}");
    let logs = cli("logs one");
    assert_eq!((logs.0, logs.1.trim()), (Some(0), "here it is"), "{logs:?}");
    let removed = cli("rm one --yes");
    assert_eq!(removed.0, Some(0), "{removed:?}");
    for mut program in running {
        program.signal(nix::sys::signal::Signal::SIGTERM);
        program.end(PATIENCE);
    }
}
