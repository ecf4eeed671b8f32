//! Real `proffer` programs as child processes: started in places of their own, watched by polling
//! with deadlines, signalled by pid, and cleaned up after, whatever happened.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long anything may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test: `PROFFER_BIN`, else `proffer` beside the directory of this test.
///
/// # Panics
/// When there is none: tests of processes need it built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PROFFER_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("a test knows its own file");
    let built = own.ancestors().nth(2).map(|target| target.join("proffer"));
    match built {
        Some(path) if path.exists() => path,
        _ => panic!("no proffer beside {}: cargo build -p proffer-cli", own.display()),
    }
}

/// The top of the source tree.
#[must_use]
pub fn tree() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tree is there")
}

/// Whether tests may make control groups and namespaces. Says so where they may not.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        eprintln!("skipped {test}: needs root for control groups and namespaces");
    }
    root
}

/// The full length instead of the short one.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("PROFFER_TEST_LONG").is_some_and(|value| value != "0")
}

/// Clusters take turns within a test binary: side by side they would only slow each other down.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks until `probe` finds something.
///
/// # Panics
/// When `within` has passed; `what` says what was awaited.
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        pause(LOOK_EVERY);
    }
}

/// Lets time pass: between two looks, or until a moment that a test has drawn.
#[expect(clippy::disallowed_methods, reason = "polls with a deadline, or a moment drawn by a seed")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// A directory and a name of a test's own; both are gone afterwards, and all that bears the name.
pub struct Place {
    /// Begins with `proffer-test-`: the first part of control group roots.
    pub name: String,
    directory: tempfile::TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// A fresh one.
    ///
    /// # Panics
    /// Without a directory for temporary files.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("proffer-test-")
            .tempdir()
            .expect("temporary directories can be made");
        let name = directory.path().file_name().expect("it has a name");
        Self { name: name.to_string_lossy().replace('.', "-"), directory }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file with `text` in it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("the place can be written to");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        crate::traces::remove(&self.name);
    }
}

/// A running `proffer`.
pub struct Program {
    child: Child,
    ended: Option<ExitStatus>,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts `proffer` with `args`. Its temporary files and its output land in `place`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(place: &Place, label: &str, args: &[&str]) -> Self {
        let mut command = plain();
        command.args(args);
        Self::run(place, label, command)
    }

    /// Starts any command, its output in `place`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(place: &Place, label: &str, command: Command) -> Self {
        Self::run_in(place, label, command, place.path())
    }

    /// The same with another directory for its temporary files.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run_in(place: &Place, label: &str, mut command: Command, temporary: &Path) -> Self {
        let number = std::fs::read_dir(place.path()).map_or(0, Iterator::count);
        let file = |kind: &str| {
            let path = place.path().join(format!("{label}-{number}.{kind}"));
            let file = File::create(&path).expect("the place can be written to");
            (path, file)
        };
        let ((out, out_file), (err, err_file)) = (file("out"), file("err"));
        command
            .env("TMPDIR", temporary)
            .current_dir(tree())
            .stdin(Stdio::null())
            .stdout(out_file)
            .stderr(err_file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{label} starts: {error}"));
        Self { child, ended: None, out, err }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has said on standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        std::fs::read(&self.err)
            .map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it).into())
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may be gone already: then there is nobody to be told.
            let _ = nix::sys::signal::kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end `within`.
    pub fn end(&mut self, within: Duration) -> ExitStatus {
        let limit = Instant::now() + within;
        while self.is_alive() {
            if Instant::now() > limit {
                panic!("still running after {within:?}:\n{}\n{}", self.out(), self.err());
            }
            pause(LOOK_EVERY);
        }
        self.ended.expect("it is not alive")
    }

    /// Waits until its standard error has a line that `probe` takes.
    ///
    /// # Panics
    /// When it ends before, or says nothing such in time.
    pub fn says<T>(&mut self, what: &str, probe: impl Fn(&str) -> Option<T>) -> T {
        let limit = Instant::now() + PATIENCE;
        loop {
            let alive = self.is_alive();
            if let Some(found) = self.err().lines().find_map(&probe) {
                return found;
            }
            let text = self.err();
            assert!(alive, "ended ({:?}) without saying {what}:\n{text}", self.ended);
            assert!(Instant::now() < limit, "does not say {what}:\n{text}");
            pause(LOOK_EVERY);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = self.err();
            let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("--- {}\n{}", self.err.display(), &text[from..]);
        }
    }
}

/// How a command of the CLI ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error} in {:?} (and {:?})", self.out, self.err))
    }

    /// Itself, if all went well.
    ///
    /// # Panics
    /// When the code is another than 0.
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// The program without settings of whoever runs the tests.
fn plain() -> Command {
    let mut command = Command::new(binary());
    let settings = std::env::vars_os().map(|(name, _)| name);
    let own = settings.filter(|name| name.to_string_lossy().starts_with("PROFFER_"));
    for name in own {
        command.env_remove(name);
    }
    command
}

/// Runs `proffer` with `args` to its end, with `environment` added to its own.
#[must_use]
pub fn proffer(place: &Place, environment: &[(&str, &str)], args: &[&str]) -> Ended {
    let mut command = plain();
    command.args(args).envs(environment.iter().copied());
    let mut program = Program::run(place, "cli", command);
    let status = program.end(PATIENCE * 2);
    Ended { code: status.code().unwrap_or(-1), out: program.out(), err: program.err() }
}
