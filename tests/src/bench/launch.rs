//! P8: tasks a second through a real master process over real gRPC, and how long a task takes from
//! its request to being seen to run. Agents are simulated, everything before them is real.

use super::launch_agents::{self, Done};
use super::launch_framework::{self, Ask, Seen, State};
use super::samples::{Subject, cpu_ms, percentile};
use crate::cluster::Parts;
use anyhow::{Context, Result, bail, ensure};
use proffer_net::Token;
use proffer_net::client::Endpoint;
use proffer_sdk::{Handle, Options};
use proffer_types::Resources;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const BENCH: &str = "launch";
const SHAPE: &str = "cpus:0.1;mem:32MiB";
const SHAPE_CPU_MILLIS: u64 = 100;
/// Longest wait without any progress.
const STALLED: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How much.
#[derive(clap::Args, Clone)]
pub struct Plan {
    /// Simulated agents.
    #[arg(long, default_value_t = 500)]
    pub agents: usize,
    /// Frameworks, each in a role of its own.
    #[arg(long, default_value_t = 10)]
    pub frameworks: usize,
    /// Tasks of a round, all asked for at once.
    #[arg(long, default_value_t = 10_000)]
    pub tasks: usize,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Tasks a second when latency is measured.
    #[arg(long, default_value_t = 500)]
    pub rate: usize,
    /// Seconds for which latency is measured.
    #[arg(long, default_value_t = 10)]
    pub seconds: usize,
}

struct Cluster {
    parts: Parts,
    done: Arc<Done>,
    seen: Arc<Seen>,
    frameworks: Vec<Handle<Ask>>,
    launched: usize,
}

/// Measures as planned.
///
/// # Errors
/// When the books are wrong at the end, or nothing moves; never because it is slow.
pub async fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.frameworks > 0 && plan.agents > 0, "at least one agent and one framework");
    let mut parts = Parts::prepare(0, "");
    parts.start_master();
    let endpoint = endpoint(&parts)?;
    let (done, seen) = (Arc::new(Done::default()), Arc::new(Seen::default()));
    let all = plan.rounds * plan.tasks + plan.rate * plan.seconds;
    // A tenth more than is needed, so that no task waits for room.
    let each = (all * 11 / 10).div_ceil(plan.agents).max(1);
    let size = format!("cpus:{};mem:{}MiB", each.div_ceil(10), each * 32);
    let size: Resources = size.parse().map_err(|error| anyhow::anyhow!("{size}: {error}"))?;
    let agents = launch_agents::start(plan.agents, &size, &endpoint, &done)?;
    let mut cluster = Cluster { parts, done, seen, frameworks: Vec::new(), launched: 0 };
    cluster.wait_for_agents(plan.agents).await?;
    cluster.start_frameworks(plan.frameworks, &endpoint).await?;

    let case = format!("{}x{}", plan.agents, plan.frameworks);
    let subject = Subject { bench: BENCH, case: &case };
    cluster.throughput(plan, subject).await?;
    cluster.latency(plan, subject).await?;
    let exact = cluster.check_the_books().await?;
    subject.print("accounted_exactly", "tasks", exact as f64, &[])?;
    drop(agents);
    for framework in cluster.frameworks {
        framework.shutdown().await;
    }
    Ok(())
}

fn endpoint(parts: &Parts) -> Result<Endpoint> {
    let token = Token::parse(&parts.api.token).map_err(|why| anyhow::anyhow!(why))?;
    Ok(Endpoint::parse(&parts.api.address.to_string())?.with_token(Some(token)))
}

impl Cluster {
    async fn wait_for_agents(&self, count: usize) -> Result<()> {
        let end = Instant::now() + STALLED;
        loop {
            let overview = self.read("/v1/overview").await?;
            if overview["agents"]["active"] == count {
                return Ok(());
            }
            ensure!(Instant::now() < end, "agents do not register: {overview}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start_frameworks(&mut self, count: usize, endpoint: &Endpoint) -> Result<()> {
        let shape: Resources = SHAPE.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        for number in 0..count {
            let options = Options::new(endpoint.clone());
            let handle = launch_framework::start(number, &shape, options, &self.seen)?;
            self.frameworks.push(handle);
        }
        let end = Instant::now() + STALLED;
        while self.seen.counts().0 < count {
            ensure!(Instant::now() < end, "frameworks do not become active");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Reads block: on a thread where that is allowed.
    async fn read(&self, path: &str) -> Result<Value> {
        let (api, path) = (self.parts.api.clone(), path.to_owned());
        Ok(tokio::task::spawn_blocking(move || api.json(&path)).await?)
    }

    async fn ask(&mut self, framework: usize, count: usize, intended: Instant) -> Result<()> {
        self.launched += count;
        let asked = self.frameworks[framework].input(Ask { count, intended }).await;
        asked.map_err(|stopped| anyhow::anyhow!("{stopped}"))
    }

    /// Waits until `count` tasks were seen to run since the last take.
    async fn seen(&self, count: usize) -> Result<State> {
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            let (_, running, faults) = self.seen.counts();
            if faults > 0 {
                bail!("faults: {:?}", self.seen.take().faults);
            }
            if running >= count {
                return Ok(self.seen.take());
            }
            if running > before {
                (before, moved) = (running, Instant::now());
            }
            ensure!(moved.elapsed() < STALLED, "{running} of {count} run, and nothing moves");
            sleep(LOOK_EVERY).await;
        }
    }

    async fn throughput(&mut self, plan: &Plan, subject: Subject<'_>) -> Result<()> {
        let (mut rates, mut master_us, mut retried) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let cpu = self.master_cpu_ms()?;
            let began = Instant::now();
            let each = plan.tasks.div_ceil(plan.frameworks);
            for framework in 0..plan.frameworks {
                self.ask(framework, each, began).await?;
            }
            let count = each * plan.frameworks;
            let seen = self.seen(count).await?;
            let took = seen.last.context("at least one was seen")? - began;
            rates.push(count as f64 / took.as_secs_f64());
            retried.push(seen.retried as f64);
            master_us.push((self.master_cpu_ms()? - cpu) * 1e3 / count as f64);
        }
        subject.print("throughput", "tasks/s", percentile(&rates, 50.0), &rates)?;
        subject.print("master_cpu_per_task", "us", percentile(&master_us, 50.0), &master_us)?;
        subject.print("dropped_and_retried", "tasks", retried.iter().sum(), &retried)?;
        Ok(())
    }

    /// Open loop: each task is asked for at its moment, whatever became of those before it.
    async fn latency(&mut self, plan: &Plan, subject: Subject<'_>) -> Result<()> {
        let (began, count) = (Instant::now(), plan.rate * plan.seconds);
        for number in 0..count {
            let intended = began + Duration::from_secs_f64(number as f64 / plan.rate as f64);
            tokio::time::sleep_until(intended.into()).await;
            self.ask(number % plan.frameworks, 1, intended).await?;
        }
        let samples = self.seen(count).await?.running_after_ms;
        let name = |what: &str| format!("request_to_running_at_{}_{what}", plan.rate);
        subject.print(&name("p50"), "ms", percentile(&samples, 50.0), &samples)?;
        for (word, percent) in [("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)] {
            subject.print(&name(word), "ms", percentile(&samples, percent), &[])?;
        }
        Ok(())
    }

    fn master_cpu_ms(&self) -> Result<f64> {
        cpu_ms(self.parts.master.as_ref().context("a master")?.pid())
    }

    /// The master, its rows and the agents agree on every task and every resource.
    async fn check_the_books(&self) -> Result<usize> {
        let (starts, repeats) = (&self.done.starts, &self.done.repeats);
        let started = usize::try_from(starts.load(Ordering::Relaxed))?;
        ensure!(repeats.load(Ordering::Relaxed) == 0, "a container was started twice");
        ensure!(started == self.launched, "{started} containers for {} tasks", self.launched);
        let overview = self.read("/v1/overview").await?;
        ensure!(overview["tasks"]["running"] == self.launched, "{overview}");
        ensure!(overview["offers"] == 0, "an offer is held for nothing: {overview}");
        let wanted = self.launched as u64 * SHAPE_CPU_MILLIS;
        let total = scalar(&overview["allocated"], "cpus")?;
        ensure!(total == wanted, "{total} thousandths of a cpu for {wanted}");
        let agents = self.read("/v1/agents?page_size=10000").await?;
        let mut sum = 0;
        for agent in agents["agents"].as_array().context("a list of agents")? {
            let used = scalar(&agent["allocated"], "cpus")?;
            let has = scalar(&agent["info"]["resources"], "cpus")?;
            ensure!(used <= has, "{}: {used} of {has} allocated", agent["id"]);
            ensure!(agent["tasks_active"].as_u64() == Some(used / SHAPE_CPU_MILLIS), "{agent}");
            sum += used;
        }
        ensure!(sum == wanted, "agents have {sum} thousandths of a cpu in use for {wanted}");
        Ok(started)
    }
}

fn scalar(resources: &Value, name: &str) -> Result<u64> {
    let list = resources.as_array().context("a list of resources")?;
    let found = list.iter().find(|resource| resource["name"] == name);
    let Some(found) = found else { return Ok(0) };
    found["scalar"].as_str().context("a scalar")?.parse().context("a whole number")
}
