//! Owns a master made by hand: it accepts agents over real gRPC, answers heartbeats, and says what
//! the test tells it to.

use proffer_proto::pb;
use proffer_proto::pb::agent_service_server::{AgentService, AgentServiceServer};
use proffer_types::agent::{
    AgentDown, AgentInfo, AgentLaunch, AgentMessage, AgentOrder, AgentTask, AgentUp, KillCause,
};
use proffer_types::hold::AgentHold;
use proffer_types::ids::{
    AgentId, AgentSession, FrameworkEpoch, FrameworkId, LaunchToken, LogIncarnation, MasterEpoch,
    RoleName, TaskName,
};
use proffer_types::refusal::Refusal;
use proffer_types::resources::Resources;
use proffer_types::task::{TaskState, TaskStatus};
use proffer_types::template::{PodTemplate, TaskLaunch};
use proffer_types::units::DurationMs;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const KEY: &[u8] = b"capability key of the test";
pub(crate) const FRAMEWORK: FrameworkId = FrameworkId(1);
const AGENT: AgentId = AgentId(1);
const EPOCH: MasterEpoch = MasterEpoch(1);
/// Nothing here takes long; a machine under load may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

type Down = mpsc::Sender<Result<pb::AgentDown, Status>>;

struct Service {
    streams: mpsc::Sender<(Streaming<pb::AgentUp>, Down)>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type ConnectStream = ReceiverStream<Result<pb::AgentDown, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::AgentUp>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (down, receiver) = mpsc::channel(64);
        let gone = |_| Status::unavailable("the test is over");
        self.streams.send((request.into_inner(), down)).await.map_err(gone)?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// See the module.
pub(crate) struct Master {
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<(Streaming<pb::AgentUp>, Down)>,
}

impl Master {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(8);
        let service = AgentServiceServer::new(Service { streams: sender });
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
        );
        Self { address, streams }
    }

    /// Waits for an agent and admits it.
    pub(crate) async fn admit(&mut self) -> Agent {
        let accepted = tokio::time::timeout(PATIENCE, self.streams.recv()).await;
        let (up, down) = accepted.expect("an agent calls").expect("the server runs");
        let mut agent = Agent::listen(up, down).await;
        agent
            .order(AgentOrder::Registered {
                heartbeat: DurationMs(500),
                grant: DurationMs(10_000),
                capability_key: KEY.to_vec(),
            })
            .await;
        agent
    }
}

/// One registration, as the master sees it.
pub(crate) struct Agent {
    pub(crate) id: Option<AgentId>,
    pub(crate) session: AgentSession,
    pub(crate) info: AgentInfo,
    pub(crate) log: LogIncarnation,
    pub(crate) list: Vec<AgentTask>,
    pub(crate) holds: Vec<AgentHold>,
    pub(crate) seen: Vec<TaskStatus>,
    down: Down,
    messages: mpsc::Receiver<AgentMessage>,
}

impl Agent {
    async fn listen(mut up: Streaming<pb::AgentUp>, down: Down) -> Self {
        let (mut info, mut list, mut listed) = (None, Vec::new(), Vec::new());
        let (id, session) = 'registration: loop {
            let frame = up.message().await.unwrap().expect("the registration goes on");
            let frame = AgentUp::try_from(frame).unwrap();
            for message in frame.messages {
                match message.clone() {
                    AgentMessage::Register { info: said, log, .. } => info = Some((said, log)),
                    AgentMessage::Tasks { tasks } => list.extend(tasks),
                    AgentMessage::Holds { holds } => listed.extend(holds),
                    AgentMessage::RegisterEnd => break 'registration (frame.agent, frame.session),
                    AgentMessage::Statuses { .. }
                    | AgentMessage::HoldDone { .. }
                    | AgentMessage::Heartbeat
                    | AgentMessage::Leaving => {
                        panic!("before the end of a registration: {message:?}")
                    }
                }
            }
        };
        let (sender, messages) = mpsc::channel(1024);
        let answers = down.clone();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = up.message().await {
                for message in AgentUp::try_from(frame).unwrap().messages {
                    if message == AgentMessage::Heartbeat {
                        let grant = AgentOrder::Grant { grant: DurationMs(10_000) };
                        let _ = answers.send(Ok(frame_of(session, grant))).await;
                    } else if sender.send(message).await.is_err() {
                        return;
                    }
                }
            }
        });
        let (info, log) = info.expect("a registration begins with who it is");
        let (holds, seen) = (listed, Vec::new());
        Self { id, session, info, log, list, holds, seen, down, messages }
    }

    pub(crate) async fn order(&mut self, order: AgentOrder) {
        self.down.send(Ok(frame_of(self.session, order))).await.expect("the stream is open");
    }

    /// Gives an order about a hold and waits for its answer.
    pub(crate) async fn hold(&mut self, order: AgentOrder) -> Option<Refusal> {
        self.order(order).await;
        let answered = async {
            loop {
                let message = self.messages.recv().await.expect("the agent is there");
                if let AgentMessage::HoldDone { refusal, .. } = message {
                    return refusal;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("an order is answered")
    }

    pub(crate) async fn launch(&mut self, number: u64, template: &PodTemplate) {
        self.launch_with(number, template, &Resources::new()).await;
    }

    pub(crate) async fn launch_with(
        &mut self,
        number: u64,
        template: &PodTemplate,
        more: &Resources,
    ) {
        let digest = template.digest();
        self.order(AgentOrder::Template { digest, template: template.clone() }).await;
        let launch = TaskLaunch {
            name: name(number),
            token: token(number),
            template: digest,
            resources: "cpus:0.1;mem:64MiB"
                .parse::<Resources>()
                .unwrap()
                .checked_add(more)
                .unwrap(),
            variables: BTreeMap::from([("number".to_owned(), number.to_string())]),
            labels: BTreeMap::new(),
            group: None,
            priority: 0,
            budget: None,
        };
        let role = RoleName::new("test").unwrap();
        let task = AgentLaunch { framework: FRAMEWORK, role, launch };
        self.order(AgentOrder::Launch { tasks: vec![task] }).await;
    }

    pub(crate) async fn kill(&mut self, number: u64) {
        let (task, policy) = (name(number), None);
        let order =
            AgentOrder::Kill { framework: FRAMEWORK, task, policy, cause: KillCause::Framework };
        self.order(order).await;
    }

    pub(crate) async fn acknowledge(&mut self, through: u64) {
        let (framework, incarnation, except) = (FRAMEWORK, self.log, BTreeSet::new());
        self.order(AgentOrder::Acknowledge { framework, incarnation, through, except }).await;
    }

    /// The next status of a task for which `wanted` holds.
    pub(crate) async fn status(
        &mut self,
        number: u64,
        wanted: impl Fn(&TaskStatus) -> bool,
    ) -> TaskStatus {
        let found = async {
            loop {
                let message = self.messages.recv().await.expect("the agent is there");
                let AgentMessage::Statuses { statuses } = message else { continue };
                let known = self.seen.len();
                self.seen.extend(statuses);
                let new = &self.seen[known..];
                let hit = new.iter().find(|s| s.task == name(number) && wanted(s));
                if let Some(status) = hit {
                    return status.clone();
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(status) => status,
            Err(_) => panic!("no such status of {}; seen: {:#?}", name(number), self.seen),
        }
    }

    pub(crate) async fn state(&mut self, number: u64, state: TaskState) -> TaskStatus {
        self.status(number, |status| status.state == state).await
    }

    pub(crate) async fn ended(&mut self, number: u64) -> TaskStatus {
        self.status(number, |status| status.state.is_terminal()).await
    }

    /// States of a task in the order in which they were told.
    pub(crate) fn states(&self, number: u64) -> Vec<TaskState> {
        let of_task = self.seen.iter().filter(|status| status.task == name(number));
        of_task.map(|status| status.state).collect()
    }
}

fn frame_of(session: AgentSession, order: AgentOrder) -> pb::AgentDown {
    AgentDown { agent: AGENT, session, master_epoch: EPOCH, orders: vec![order] }.into()
}

pub(crate) fn token(number: u64) -> LaunchToken {
    LaunchToken { session: FrameworkEpoch(1), sequence: number }
}

pub(crate) fn name(number: u64) -> TaskName {
    TaskName::new(&format!("task-{number}")).unwrap()
}
