//! The shell over real gRPC on loopback, against the fake master: it connects, works, survives the
//! end of a stream and of a server, follows the list of masters, and stops when told to.

use futures_util::stream::{self, Stream, StreamExt};
use proffer_proto::pb;
use proffer_proto::pb::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use proffer_sdk::testing::{FakeMaster, HEARTBEAT};
use proffer_sdk::types::scheduler::{Event, SchedulerDown, SchedulerUp};
use proffer_sdk::types::{
    FrameworkEpoch, FrameworkName, Now, ReplicaId, RoleName, TaskName, TaskState,
};
use proffer_sdk::{
    Context, Endpoint, Framework, FrameworkEvent, FrameworkInfo, Options, Standing, StateWrite,
    Status, TaskRequest, Template,
};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// A generous bound: nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Launches what it is told to, and writes down which ends it saw.
struct Launcher;

impl Framework for Launcher {
    type Input = TaskName;

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(FrameworkName::new("launcher").expect("valid"), role())
    }

    fn handle(&mut self, event: FrameworkEvent<TaskName>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Input(name) => {
                let template = Template::command(["/bin/true"]).expect("valid");
                let needs = "cpus:1;mem:64MiB".parse().expect("valid");
                ctx.launch(TaskRequest::new(name, template, role(), needs)).expect("active");
            }
            FrameworkEvent::Task { task, .. } if !task.is_live() => {
                let key = format!("ended/{}", task.name());
                ctx.commit(vec![StateWrite::put(key, "1")], 0).expect("active");
            }
            FrameworkEvent::Task { .. }
            | FrameworkEvent::Active { .. }
            | FrameworkEvent::Resumed
            | FrameworkEvent::Disconnected
            | FrameworkEvent::LaunchFailed { .. }
            | FrameworkEvent::Agent { .. }
            | FrameworkEvent::StateCommitted { .. }
            | FrameworkEvent::StateRefused { .. }
            | FrameworkEvent::Refused { .. }
            | FrameworkEvent::Offers { .. }
            | FrameworkEvent::Rescinded { .. }
            | FrameworkEvent::Hold(_)
            | FrameworkEvent::InverseOffers { .. }
            | FrameworkEvent::InverseOffersRescinded { .. }
            | FrameworkEvent::AcceptAnswered { .. }
            | FrameworkEvent::Standby { .. }
            | FrameworkEvent::TornDown
            | FrameworkEvent::Timer => {}
        }
    }
}

fn role() -> RoleName {
    RoleName::new("eng").expect("valid")
}

type Frames = mpsc::Sender<Result<pb::SchedulerDown, tonic::Status>>;

/// The fake master behind a gRPC service; several servers may share it, as masters share a cluster.
#[derive(Clone)]
struct Served {
    master: Arc<Mutex<FakeMaster>>,
    streams: Arc<Mutex<Vec<(u64, Frames)>>>,
    /// Where the leader is, for a server that does not lead.
    leader: Option<SocketAddr>,
}

impl Served {
    fn new() -> Self {
        let mut master = FakeMaster::new();
        let resources = "cpus:4;mem:8GiB".parse().expect("valid");
        master.add_agent("one", resources, Default::default());
        Self { master: Arc::new(Mutex::new(master)), streams: Arc::default(), leader: None }
    }

    fn with<T>(&self, act: impl FnOnce(&mut FakeMaster) -> T) -> T {
        let done = act(&mut self.master.lock().unwrap_or_else(PoisonError::into_inner));
        self.deliver();
        done
    }

    /// Sends what is ready.
    fn deliver(&self) {
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        master.deliver_launches();
        master.make_offers();
        for (to, frame) in master.take_frames() {
            if let Some((_, stream)) = streams.iter().find(|(id, _)| *id == to) {
                // One that has ended is told by its reader's end.
                let _ = stream.try_send(Ok(pb::SchedulerDown::from(&frame)));
            }
        }
    }

    /// Ends every stream from the server's side.
    fn end_streams(&self) {
        let ended =
            std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, _) in ended {
            self.with(|master| master.disconnected(id));
        }
    }
}

#[tonic::async_trait]
impl SchedulerService for Served {
    type ConnectStream =
        Pin<Box<dyn Stream<Item = Result<pb::SchedulerDown, tonic::Status>> + Send>>;

    async fn connect(
        &self,
        request: tonic::Request<tonic::Streaming<pb::SchedulerUp>>,
    ) -> Result<tonic::Response<Self::ConnectStream>, tonic::Status> {
        let mut frames = request.into_inner();
        let (sender, receiver) = mpsc::channel(1024);
        let id = {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            let id = rand::random();
            streams.push((id, sender.clone()));
            id
        };
        let served = self.clone();
        // A leader's stream ends when its entry is taken out.
        let refused = self.leader.map(|leader| (leader, sender));
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                let frame = SchedulerUp::try_from(frame).expect("the SDK speaks well");
                match &refused {
                    Some((leader, sender)) => {
                        let down = refuse(*leader);
                        let _ = sender.send(Ok(pb::SchedulerDown::from(&down))).await;
                    }
                    None => served.with(|master| master.frame(id, frame)),
                }
            }
            served.with(|master| master.disconnected(id));
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn refuse(leader: SocketAddr) -> SchedulerDown {
    use proffer_sdk::types::{MasterEpoch, Refusal, RefusalCode};
    let refusal = Refusal::new(RefusalCode::NotLeader, "subscribe", "another master leads")
        .hint(leader.to_string());
    SchedulerDown {
        master_epoch: MasterEpoch(0),
        epoch: FrameworkEpoch(0),
        events: vec![Event::Refused { call: "subscribe".to_owned(), refusal }],
    }
}

async fn serve(served: Served) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let beating = served.clone();
    let server = tonic::transport::Server::builder()
        .add_service(SchedulerServiceServer::new(served))
        .serve_with_incoming(Box::pin(incoming));
    let task = tokio::spawn(async move {
        let mut beats = tokio::time::interval(Duration::from_millis(HEARTBEAT.0 / 2));
        let beat = async {
            loop {
                beats.tick().await;
                beating.with(FakeMaster::beat);
            }
        };
        tokio::select! {
            served = server => served.expect("it serves until it is ended"),
            () = beat => {}
        }
    });
    (address, task)
}

fn options(addresses: &[SocketAddr]) -> Options {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let endpoint = Endpoint::parse(&addresses.join(",")).expect("addresses");
    Options::new(endpoint).replica(ReplicaId::new("replica-1").expect("valid"))
}

async fn until(status: &mut watch::Receiver<Status>, what: impl FnMut(&Status) -> bool) -> Status {
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(what)).await;
    let waited = waited.map(|status| status.expect("it runs").clone());
    waited.unwrap_or_else(|_| panic!("does not happen: {:?}", *status.borrow()))
}

async fn until_master(served: &Served, mut what: impl FnMut(&FakeMaster) -> bool) {
    let holds = async {
        while !served.with(|master| what(master)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, holds).await.is_err() {
        let master = served.master.lock().unwrap_or_else(PoisonError::into_inner);
        panic!("does not happen: {:?}, violations {:?}", master.tasks(), master.violations());
    }
}

fn name(text: &str) -> TaskName {
    TaskName::new(text).expect("valid")
}

#[tokio::test]
async fn a_task_is_launched_over_a_redirect_and_its_end_survives_a_cut() {
    let served = Served::new();
    let (leader, _server) = serve(served.clone()).await;
    let standby = Served { leader: Some(leader), ..Served::new() };
    let (other, _other_server) = serve(standby).await;

    let handle = proffer_sdk::run(Launcher, options(&[other]));
    let mut status = handle.status();
    let active = until(&mut status, |status| status.standing == Standing::Active).await;
    handle.input(name("a")).await.expect("it runs");
    until_master(&served, |master| master.tasks().contains_key(&name("a"))).await;

    served.end_streams();
    until(&mut status, |status| status.standing != Standing::Active).await;
    served.with(|master| {
        assert!(master.move_task(&name("a"), TaskState::Running));
        assert!(master.move_task(&name("a"), TaskState::Finished));
    });
    let again = until(&mut status, |status| status.standing == Standing::Active).await;
    assert_eq!(again.epoch, active.epoch, "the same replica resumes");
    until_master(&served, |master| master.state("ended/a").is_some()).await;
    until_master(&served, |master| master.tasks().is_empty()).await;
    assert_eq!(served.with(|master| master.launched().len()), 1, "I2");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_dead_master_is_replaced_by_the_next_of_the_list() {
    let served = Served::new();
    let (first, first_server) = serve(served.clone()).await;
    let (second, _second_server) = serve(served.clone()).await;
    let handle = proffer_sdk::run(Launcher, options(&[first, second]));
    let mut status = handle.status();
    let active = until(&mut status, |status| status.standing == Standing::Active).await;

    first_server.abort();
    served.with(FakeMaster::fail_over);
    served.streams.lock().expect("not poisoned").clear();
    let again =
        until(&mut status, |s| s.standing == Standing::Active && s.epoch > active.epoch).await;
    assert!(again.master_epoch > active.master_epoch);
    handle.shutdown().await;
}

#[tokio::test]
async fn nobody_there_is_said_and_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    let handle = proffer_sdk::run(Launcher, options(&[address]));
    let mut status = handle.status();
    until(&mut status, |status| status.last_error.is_some()).await;
    handle.shutdown().await;
}
