//! Runs a framework: one task owns the driver; it waits for one thing, hands it in, and carries out
//! what comes of it.
//!
//! | task | owns | ends |
//! |---|---|---|
//! | loop | the driver | by [`Handle::shutdown`], or when it is torn down |
//! | connection | one stream to one master | when the stream ends or the loop gives it up |

use crate::connection::{self, Connection, Report};
use proffer_net::Endpoint;
use proffer_net::client::Address;
use proffer_net::complaints::Complaints;
use proffer_proto::pb;
use proffer_sdk_core::driver::{Standing, Status};
use proffer_sdk_core::{Command, Config, Driver, Framework, Output};
use proffer_types::{Monotonic, Now, ReplicaId, WallTime};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Inputs that wait for the loop; a sender waits when it is full.
const INPUTS_MAX: usize = 1024;
/// Frames that wait for the loop; a connection stops reading when it is full, and so does the
/// master's sending (K15).
const REPORTS_MAX: usize = 64;
/// Things handed in before their outcome is carried out.
const BATCH_MAX: usize = 64;

/// How often the driver is asked while a frame waits for room.
const BLOCKED_TICK: Duration = Duration::from_millis(100);

/// Where the masters are, and who this is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses of the masters, token, certificates.
    pub endpoint: Endpoint,
    /// Which process of the framework this is; several may run, one is active.
    pub replica: ReplicaId,
    /// Become active at the first subscription even though another replica is.
    pub take_over: bool,
    /// Decides the jitter of delays; `None`: at random.
    pub seed: Option<u64>,
}

impl Options {
    /// A replica with a random name.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        let replica = ReplicaId::new(&format!("r-{:016x}", rand::random::<u64>()))
            .expect("hexadecimal digits make a name");
        Self { endpoint, replica, take_over: false, seed: None }
    }

    /// The same with a given replica name.
    #[must_use]
    pub fn replica(mut self, replica: ReplicaId) -> Self {
        self.replica = replica;
        self
    }

    /// The same, taking over from a replica that is active.
    #[must_use]
    pub fn take_over(mut self) -> Self {
        self.take_over = true;
        self
    }
}

/// A framework that runs. Dropping it does not stop the framework; [`Handle::shutdown`] does.
#[derive(Debug)]
pub struct Handle<Input> {
    inputs: mpsc::Sender<Input>,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// The framework does not run any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the framework has stopped")
    }
}
impl std::error::Error for Stopped {}

impl<Input> Handle<Input> {
    /// Hands an input to the framework; waits while too many are ahead of it.
    ///
    /// # Errors
    /// [`Stopped`] when the framework does not run any more.
    pub async fn input(&self, input: Input) -> Result<(), Stopped> {
        self.inputs.send(input).await.map_err(|_| Stopped)
    }

    /// A sender of inputs, for tasks of the framework's shell.
    #[must_use]
    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.inputs.clone()
    }

    /// How it stands, and a way to wait for changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends the loop and the connection. Tasks run on; another replica, or the next start, takes
    /// over.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    /// Waits until the loop has ended: the framework was torn down, or shut down.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Runs `framework` on the current tokio runtime.
pub fn run<F>(framework: F, options: Options) -> Handle<F::Input>
where
    F: Framework + Send + 'static,
    F::Input: Send + 'static,
{
    run_with(framework, options, |_| {})
}

/// As [`run`], and calls `after_turn` whenever the framework has handled something, before what it
/// asked for is sent. A framework with effects of its own leaves them in a field, and the closure
/// takes them out; it must not block.
pub fn run_with<F, A>(framework: F, options: Options, after_turn: A) -> Handle<F::Input>
where
    F: Framework + Send + 'static,
    F::Input: Send + 'static,
    A: FnMut(&mut F) + Send + 'static,
{
    let (inputs, input_queue) = mpsc::channel(INPUTS_MAX);
    let (reporter, reports) = mpsc::channel(REPORTS_MAX);
    let stop = CancellationToken::new();
    let config = Config {
        take_over: options.take_over,
        ..Config::new(options.replica, options.seed.unwrap_or_else(rand::random))
    };
    let driver = Driver::new(framework, config);
    let (status_sender, status) = watch::channel(driver.status());
    let runtime = Runtime {
        driver,
        after_turn,
        clock: Clock::start(),
        endpoint: options.endpoint,
        next_address: 0,
        connection: None,
        unsent: None,
        reporter,
        status: status_sender,
        complaints: Complaints::default(),
        is_ended: false,
    };
    let ended = CancellationToken::new();
    // Dropped with the task in any case, also when the framework panics.
    let guard = ended.clone().drop_guard();
    let stopped = stop.clone();
    tokio::spawn(async move {
        let _guard = guard;
        runtime.run(input_queue, reports, stopped).await;
    });
    Handle { inputs, status, stop, ended }
}

struct Runtime<F: Framework, A> {
    driver: Driver<F>,
    after_turn: A,
    clock: Clock,
    endpoint: Endpoint,
    /// Which address of the list is tried next.
    next_address: usize,
    connection: Option<Connection>,
    /// A frame that the connection has no room for; nothing more is asked of the driver meanwhile.
    unsent: Option<pb::SchedulerUp>,
    reporter: mpsc::Sender<(u64, Report)>,
    status: watch::Sender<Status>,
    complaints: Complaints,
    is_ended: bool,
}

impl<F, A> Runtime<F, A>
where
    F: Framework,
    A: FnMut(&mut F),
{
    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<F::Input>,
        mut reports: mpsc::Receiver<(u64, Report)>,
        stop: CancellationToken,
    ) {
        let mut has_inputs = true;
        self.apply(Command::Tick);
        self.carry_out();
        while !self.is_ended {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                room = room(self.connection.as_ref()), if self.unsent.is_some() => {
                    self.send_unsent(room);
                }
                Some((number, report)) = reports.recv() => {
                    self.report(number, report);
                    for _ in 1..BATCH_MAX {
                        let Ok((number, report)) = reports.try_recv() else { break };
                        self.report(number, report);
                    }
                }
                input = inputs.recv(), if has_inputs => match input {
                    // Nobody can send any more; tasks go on.
                    None => has_inputs = false,
                    Some(input) => {
                        self.apply(Command::Input(input));
                        for _ in 1..BATCH_MAX {
                            let Ok(input) = inputs.try_recv() else { break };
                            self.apply(Command::Input(input));
                        }
                    }
                },
                () = sleep_until(deadline) => self.apply(Command::Tick),
            }
            self.carry_out();
        }
    }

    fn apply(&mut self, command: Command<F::Input>) {
        self.driver.apply(command, self.clock.now());
        (self.after_turn)(self.driver.framework_mut());
    }

    fn report(&mut self, connection: u64, report: Report) {
        let command = match report {
            Report::Frame(frame) => Command::Frame { connection, frame: *frame },
            Report::Rejected(refusal) => {
                // A master that names the leader is no trouble.
                if refusal.leader().is_none() && self.complaints.is_due(Instant::now().into_std()) {
                    tracing::warn!(%refusal, hint = refusal.hint, "a master refuses the framework");
                }
                Command::Rejected { connection, refusal }
            }
            Report::Ended(why) => {
                if self.complaints.is_due(Instant::now().into_std()) {
                    tracing::warn!(%why, "not connected to a master");
                }
                Command::Disconnected { connection, why }
            }
        };
        self.apply(command);
    }

    /// Does what the driver wants, as long as there is room for it.
    fn carry_out(&mut self) {
        while self.unsent.is_none() {
            let now = self.clock.now();
            let Some(output) = self.driver.next_output(now) else { break };
            match output {
                Output::Connect { connection, hint } => self.connect(connection, hint),
                Output::Send { connection, frame } => self.send(connection, &frame),
                Output::Close { connection } => self.close(connection),
                Output::Ended => self.is_ended = true,
            }
        }
        let status = self.driver.status();
        if matches!(status.standing, Standing::Active | Standing::StandingBy) {
            self.complaints.end();
        }
        self.status.send_if_modified(|last| {
            let is_new = *last != status;
            if is_new {
                *last = status;
            }
            is_new
        });
    }

    fn connect(&mut self, number: u64, hint: Option<String>) {
        let address = self.address(hint);
        tracing::debug!(%address, connection = number, "connecting to a master");
        let opened = connection::open(number, &self.endpoint, address, self.reporter.clone());
        self.connection = Some(opened);
        // Frames may be handed over at once: they wait for the stream.
        self.apply(Command::Connected { connection: number });
    }

    /// The leader that a master named, or the next of the list.
    fn address(&mut self, hint: Option<String>) -> Address {
        if let Some(address) = hint.and_then(|hint| hint.parse().ok()) {
            return address;
        }
        let addresses = self.endpoint.addresses();
        let address = addresses[self.next_address % addresses.len()].clone();
        self.next_address = self.next_address.wrapping_add(1);
        address
    }

    fn send(&mut self, number: u64, frame: &proffer_types::scheduler::SchedulerUp) {
        let Some(connection) = self.connection.as_ref().filter(|c| c.number == number) else {
            return;
        };
        match connection.frames.try_send(connection::encode(frame)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(frame)) => self.unsent = Some(frame),
            // It has ended, and its report of that is on the way.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn send_unsent(&mut self, room: Option<mpsc::OwnedPermit<pb::SchedulerUp>>) {
        if let (Some(frame), Some(room)) = (self.unsent.take(), room) {
            room.send(frame);
        }
    }

    fn close(&mut self, number: u64) {
        if self.connection.as_ref().is_some_and(|connection| connection.number == number) {
            self.connection = None;
            self.unsent = None;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = self.driver.next_deadline().map(|at| self.clock.instant(at))?;
        if self.unsent.is_none() {
            return Some(deadline);
        }
        // What is due to be said waits for room; only that the other side is silent can be noticed.
        Some(deadline.max(Instant::now() + BLOCKED_TICK))
    }
}

/// Room for one frame; `None` when the connection has ended.
async fn room(connection: Option<&Connection>) -> Option<mpsc::OwnedPermit<pb::SchedulerUp>> {
    connection?.frames.clone().reserve_owned().await.ok()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The two readings of time.
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now() }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: Monotonic(millis(self.start.elapsed())), wall: WallTime(millis(wall)) }
    }

    /// The moment of a reading; a millisecond late rather than early, or the loop would spin.
    fn instant(&self, at: Monotonic) -> Instant {
        const FAR_MS: u64 = 365 * 86_400_000;
        self.start + Duration::from_millis(at.0.min(millis(self.start.elapsed()) + FAR_MS))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
