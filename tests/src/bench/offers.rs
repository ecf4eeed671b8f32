//! P7: offers a second from a real master process to many streaming schedulers over loopback. Each declines
//! what it is offered at once and for no time, so that the next offers are made as soon as the master can.

use super::launch_agents::{self, Done};
use super::samples::{Subject, cpu_ms, percentile};
use crate::cluster::Parts;
use anyhow::{Context, Result, bail, ensure};
use proffer_net::Token;
use proffer_net::client::{Endpoint, channel};
use proffer_proto::convert::bounds::FRAME_BYTES_MAX;
use proffer_proto::pb;
use proffer_proto::pb::scheduler_service_client::SchedulerServiceClient;
use proffer_types::scheduler::{Call, FrameworkInfo, SchedulerUp};
use proffer_types::{FrameworkEpoch, OfferConditions, Resources, RoleName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

const BENCH: &str = "offers";
/// Schedulers on one connection, below the streams that a master lets one have.
const STREAMS_PER_CONNECTION: usize = 50;
/// Answers of one scheduler that may wait for the network.
const ANSWERS_MAX: usize = 16;

/// Schedulers subscribe one after the other.
const WARM_UP_SECONDS: u64 = 3;

/// How much.
#[derive(clap::Args, Clone)]
pub struct Plan {
    /// Simulated agents.
    #[arg(long, default_value_t = 2_000)]
    pub agents: usize,
    /// Streaming schedulers, each in a role of its own.
    #[arg(long, default_value_t = 100)]
    pub frameworks: usize,
    /// Seconds for which offers are counted.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
}

/// Measures as planned.
///
/// # Errors
/// When a stream ends, or no offer comes; never because it is slow.
pub async fn run(plan: &Plan) -> Result<()> {
    ensure!(plan.agents > 0 && plan.frameworks > 0, "at least one agent and one framework");
    let mut parts = Parts::prepare(0, "");
    parts.start_master();
    let token = Token::parse(&parts.api.token).map_err(|why| anyhow::anyhow!(why))?;
    let endpoint = Endpoint::parse(&parts.api.address.to_string())?.with_token(Some(token));
    let size: Resources = legal("cpus:8;mem:32GiB;disk:100GiB".parse())?;
    let done = Arc::new(Done::default());
    let mut agents = launch_agents::start(plan.agents, &size, &endpoint, &done)?;
    wait_for_agents(&parts, plan.agents).await?;
    let received = Arc::new(AtomicU64::new(0));
    let mut schedulers = JoinSet::new();
    let mut shared = channel(&endpoint);
    for number in 0..plan.frameworks {
        if number % STREAMS_PER_CONNECTION == 0 {
            shared = channel(&endpoint);
        }
        let client = SchedulerServiceClient::new(shared.clone())
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX);
        schedulers.spawn(decline_all(number, client, Arc::clone(&received)));
    }
    let pid = parts.master.as_ref().context("a master")?.pid();
    let mut samples: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for second in 0..plan.seconds + WARM_UP_SECONDS {
        let (began, had, used) = (Instant::now(), received.load(Ordering::Relaxed), cpu_ms(pid)?);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            ended = schedulers.join_next() => bail!("a scheduler ended: {ended:?}"),
            ended = agents.join_next() => bail!("an agent ended: {ended:?}"),
        }
        if second < WARM_UP_SECONDS {
            continue;
        }
        let offers = (received.load(Ordering::Relaxed) - had) as f64;
        ensure!(offers > 0.0, "no offer came for a second");
        let master_ms = cpu_ms(pid)? - used;
        samples.entry("offers").or_default().push(offers / began.elapsed().as_secs_f64());
        samples.entry("master_cpu").or_default().push(master_ms * 1e3 / offers);
        let per_cpu = offers / (master_ms / 1e3).max(0.01);
        samples.entry("offers_per_master_cpu").or_default().push(per_cpu);
    }
    let case = format!("{}x{}", plan.agents, plan.frameworks);
    let subject = Subject { bench: BENCH, case: &case };
    for (metric, unit) in
        [("offers", "offers/s"), ("master_cpu", "us"), ("offers_per_master_cpu", "offers/s")]
    {
        let of = &samples[metric];
        subject.print(&format!("{metric}_p50"), unit, percentile(of, 50.0), of)?;
        let best = if metric == "master_cpu" { 0.0 } else { 100.0 };
        subject.print(&format!("{metric}_best"), unit, percentile(of, best), &[])?;
    }
    Ok(())
}

async fn wait_for_agents(parts: &Parts, count: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // Reads block: on a thread where that is allowed.
        let api = parts.api.clone();
        let overview = tokio::task::spawn_blocking(move || api.json("/v1/overview")).await?;
        if overview["agents"]["active"] == count {
            return Ok(());
        }
        ensure!(Instant::now() < end, "agents do not register: {overview}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn legal<T, E: std::fmt::Display>(value: Result<T, E>) -> Result<T> {
    value.map_err(|error| anyhow::anyhow!("{error}"))
}

type Client = SchedulerServiceClient<proffer_net::client::AuthorizedChannel>;

async fn decline_all(number: usize, mut client: Client, received: Arc<AtomicU64>) -> Result<()> {
    let (answers, out) = mpsc::channel(ANSWERS_MAX);
    let name = format!("declines-{number}");
    let info = FrameworkInfo {
        name: legal(name.parse())?,
        roles: BTreeSet::from([legal(RoleName::new(&name))?]),
        api_url: String::new(),
        failover_timeout: None,
        labels: BTreeMap::new(),
    };
    let replica = legal("r1".parse())?;
    let conditions = OfferConditions::new();
    let subscribe = Call::Subscribe { info, replica, take_over: false, conditions };
    let first = SchedulerUp { epoch: FrameworkEpoch(0), calls: vec![subscribe] };
    answers.send(pb::SchedulerUp::from(&first)).await?;
    let mut stream = client.connect(ReceiverStream::new(out)).await?.into_inner();
    while let Some(frame) = stream.message().await? {
        let epoch = frame.epoch;
        let mut calls = Vec::new();
        for event in frame.events {
            match event.kind {
                Some(pb::event::Kind::Offers(pb::event::Offers { offers })) => {
                    received.fetch_add(offers.len() as u64, Ordering::Relaxed);
                    let offers = offers.into_iter().filter_map(|offer| offer.id).collect();
                    let decline = pb::call::Decline { offers, refuse_for_ms: 0 };
                    calls.push(pb::call::Kind::Decline(decline));
                }
                // With the first call it is clear that it states no demand.
                Some(pb::event::Kind::Subscribed(_) | pb::event::Kind::Heartbeat(_)) => {
                    calls.push(pb::call::Kind::Heartbeat(pb::call::Heartbeat {}));
                }
                Some(pb::event::Kind::Refused(refused)) => bail!("{refused:?}"),
                _ => {}
            }
        }
        if !calls.is_empty() {
            let calls = calls.into_iter().map(|call| pb::Call { kind: Some(call) }).collect();
            answers.send(pb::SchedulerUp { epoch, calls }).await?;
        }
    }
    bail!("the stream ended")
}
