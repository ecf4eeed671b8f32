//! Ten thousand malformed inputs to the gRPC door: frames of noise, well-formed frames with a few
//! bytes changed on the streams of agents and frameworks, requests of operators. Clear errors, no
//! panic, no growth, and it serves afterwards.

use proffer_proto::pb;
use proffer_tests::cluster::Dev;
use proffer_tests::mutation::{INPUTS, Said, WARM, assert_unharmed, mutate, resident_kib};
use proffer_tests::processes::{Place, is_root, turn};
use proffer_types::agent::AgentUp;
use proffer_types::scheduler::SchedulerUp;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Streams that are open at a time.
const SIDE_BY_SIDE: usize = 16;
/// What is well-formed by accident may be a subscription: it would stay for ever.
const STREAM_MAX: Duration = Duration::from_millis(300);

/// Bytes as they are, in gRPC's framing.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What to send where.
#[derive(Clone)]
struct Input {
    path: &'static str,
    frames: Vec<Bytes>,
}

const SCHEDULER: &str = "/proffer.v1.SchedulerService/Connect";
const AGENT: &str = "/proffer.v1.AgentService/Connect";
const OPERATOR: [&str; 8] = [
    "/proffer.v1.OperatorService/ListAgents",
    "/proffer.v1.OperatorService/ListTasks",
    "/proffer.v1.OperatorService/GetAgent",
    "/proffer.v1.OperatorService/DrainAgent",
    "/proffer.v1.OperatorService/KillTask",
    "/proffer.v1.OperatorService/Why",
    "/proffer.v1.OperatorService/SetRole",
    "/proffer.v1.OperatorService/Nothing",
];

fn call(kind: pb::call::Kind) -> pb::Call {
    pb::Call { kind: Some(kind) }
}

fn resources() -> Vec<pb::Resource> {
    let scalar = |name: &str, value| pb::Resource {
        name: name.to_owned(),
        quantity: Some(pb::resource::Quantity::Scalar(value)),
        ..pb::Resource::default()
    };
    vec![scalar("cpus", 1000), scalar("mem", 1 << 30)]
}

fn subscribe() -> pb::SchedulerUp {
    let info = pb::FrameworkInfo {
        name: "malformed".to_owned(),
        roles: vec!["noise".to_owned()],
        ..pb::FrameworkInfo::default()
    };
    let subscribe = pb::call::Subscribe {
        info: Some(info),
        replica: "r-1".to_owned(),
        take_over: true,
        ..pb::call::Subscribe::default()
    };
    pb::SchedulerUp { epoch: 0, calls: vec![call(pb::call::Kind::Subscribe(subscribe))] }
}

/// Frames of a framework that has subscribed.
fn calls() -> Vec<pb::SchedulerUp> {
    use pb::call::{Acknowledge, Decline, Demand, Kill, Kind, Renew, Revive, Snapshot, Suppress};
    let group = pb::DemandGroup {
        name: "g".to_owned(),
        generation: 1,
        role: "noise".to_owned(),
        shape: resources(),
        target: 3,
        gang_size: 1,
        ..pb::DemandGroup::default()
    };
    let offers = vec![pb::OfferId { epoch: 1, sequence: 1 }];
    let accepted = pb::AcceptedOffer { id: offers.first().cloned(), agent_version: 1 };
    let launch = pb::operation::Launch { agent: 1, tasks: vec![pb::TaskLaunch::default()] };
    let accept = pb::Accept {
        accept: 1,
        offers: vec![accepted],
        operations: vec![pb::Operation { kind: Some(pb::operation::Kind::Launch(launch)) }],
        refuse_for_ms: 5,
    };
    let template =
        pb::call::Template { digest: vec![7_u8; 32], template: Some(pb::PodTemplate::default()) };
    let kinds = vec![
        Kind::Demand(Demand { groups: vec![group] }),
        Kind::Accept(accept),
        Kind::Template(template),
        Kind::Decline(Decline { offers: offers.clone(), refuse_for_ms: 1 }),
        Kind::Renew(Renew { offers }),
        Kind::Suppress(Suppress { roles: vec!["noise".to_owned()] }),
        Kind::Revive(Revive::default()),
        Kind::Kill(Kill { task: "t".to_owned(), policy: None }),
        Kind::Acknowledge(Acknowledge {
            agent: 1,
            incarnation: 1,
            through: u64::MAX,
            except: vec![3],
        }),
        Kind::Snapshot(Snapshot {}),
    ];
    kinds.into_iter().map(|kind| pb::SchedulerUp { epoch: 1, calls: vec![call(kind)] }).collect()
}

fn register() -> pb::AgentUp {
    let info = pb::AgentInfo {
        name: "malformed".to_owned(),
        hostname: "vm".to_owned(),
        address: "127.0.0.1".to_owned(),
        resources: resources(),
        version: "1".to_owned(),
        isolation: "process".to_owned(),
        ..pb::AgentInfo::default()
    };
    let message = |kind| pb::AgentMessage { kind: Some(kind) };
    use pb::agent_message::{Kind, Register, RegisterEnd, Tasks};
    let tasks = Tasks { tasks: vec![pb::AgentTask::default()] };
    pb::AgentUp {
        agent: None,
        session: 1,
        master_epoch: 0,
        messages: vec![
            message(Kind::Register(Register { info: Some(info), log: 1, knows_gangs: true })),
            message(Kind::Tasks(tasks)),
            message(Kind::RegisterEnd(RegisterEnd {})),
        ],
    }
}

/// Changed until no reader takes it: what is well-formed is not for this test.
fn malformed<T>(random: &mut ChaCha8Rng, good: &[u8]) -> Bytes
where
    T: Message + Default,
    T: TryInto<Checked>,
{
    loop {
        let bytes = mutate(random, good);
        let taken = T::decode(bytes.as_slice()).ok().and_then(|frame| frame.try_into().ok());
        if taken.is_none() {
            return bytes.into();
        }
    }
}

/// A frame that was well-formed after all.
struct Checked;

impl TryFrom<pb::SchedulerUp> for Checked {
    type Error = proffer_types::Refusal;
    fn try_from(frame: pb::SchedulerUp) -> Result<Self, Self::Error> {
        SchedulerUp::try_from(frame).map(|_| Self)
    }
}

impl TryFrom<pb::AgentUp> for Checked {
    type Error = proffer_types::Refusal;
    fn try_from(frame: pb::AgentUp) -> Result<Self, Self::Error> {
        AgentUp::try_from(frame).map(|_| Self)
    }
}

/// Messages within messages, deeper than any reader should follow.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..depth {
        let mut outer = vec![0x12];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend_from_slice(&bytes[..bytes.len().min(20_000)]);
        bytes = outer;
    }
    bytes
}

fn inputs(random: &mut ChaCha8Rng) -> Vec<Input> {
    let (subscribe, register) = (subscribe().encode_to_vec(), register().encode_to_vec());
    let calls: Vec<Vec<u8>> = calls().iter().map(Message::encode_to_vec).collect();
    let mut all = Vec::new();
    for path in [SCHEDULER, AGENT, OPERATOR[0]] {
        all.push(Input { path, frames: vec![nested(2000).into()] });
        all.push(Input { path, frames: vec![vec![0xff_u8; 1 << 20].into()] });
        all.push(Input { path, frames: vec![[0x12_u8, 0].repeat(400_000).into()] });
        all.push(Input { path, frames: vec![vec![0_u8; 5 << 20].into()] });
        all.push(Input { path, frames: vec![Bytes::new(); 2000] });
    }
    while all.len() < INPUTS {
        let noise: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
        all.push(match random.random_range(0..8) {
            0 => Input { path: SCHEDULER, frames: vec![noise.into()] },
            1 => Input { path: AGENT, frames: vec![noise.into()] },
            2 | 3 => Input {
                path: SCHEDULER,
                frames: vec![malformed::<pb::SchedulerUp>(random, &subscribe)],
            },
            4 => {
                let call = &calls[random.random_range(0..calls.len())];
                let call = mutate(random, call).into();
                Input { path: SCHEDULER, frames: vec![subscribe.clone().into(), call] }
            }
            5 | 6 => {
                Input { path: AGENT, frames: vec![malformed::<pb::AgentUp>(random, &register)] }
            }
            _ => Input {
                path: OPERATOR[random.random_range(0..OPERATOR.len())],
                frames: vec![noise.into()],
            },
        });
    }
    all
}

/// Sends one input and waits for what the door says.
async fn send(channel: Channel, token: String, input: Input) -> Result<(), (Code, String)> {
    let refused = |status: Status| (status.code(), status.message().to_owned());
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
    grpc.ready().await.map_err(|error| (Code::Unavailable, error.to_string()))?;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(input.path);
    let mut request = Request::new(futures_util::stream::iter(input.frames));
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    let mut answers = grpc.streaming(request, path, Raw).await.map_err(refused)?.into_inner();
    while answers.message().await.map_err(refused)?.is_some() {}
    Ok(())
}

#[test]
fn ten_thousand_malformed_grpc_frames_do_no_harm() {
    let _turn = turn();
    if !is_root("malformed gRPC") {
        return;
    }
    let place = Place::new();
    let mut dev = Dev::start(&place, &[]);
    let mut random = ChaCha8Rng::seed_from_u64(2026);
    let inputs = inputs(&mut random);
    let said = Arc::new(Mutex::new(Said::default()));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let url = format!("http://{}", dev.api.address);
    let mut warm = 0;
    for (number, batch) in inputs.chunks(SIDE_BY_SIDE).enumerate() {
        runtime.block_on(async {
            // A connection that a monster has closed takes no other input with it.
            let channel = Channel::from_shared(url.clone()).expect("an address").connect_lazy();
            let sent = batch.iter().map(|input| {
                let (channel, token) = (channel.clone(), dev.api.token.clone());
                let said = Arc::clone(&said);
                async move {
                    let kind =
                        match tokio::time::timeout(STREAM_MAX, send(channel, token, input.clone()))
                            .await
                        {
                            Err(_) => "taken, held open".to_owned(),
                            Ok(Ok(())) => "taken".to_owned(),
                            Ok(Err((code, message))) => {
                                assert!(!message.contains("panic"), "{message}");
                                assert!(code != Code::InvalidArgument || !message.is_empty());
                                format!("{code:?}")
                            }
                        };
                    said.lock().expect("not poisoned").note(kind);
                }
            });
            futures_util::future::join_all(sent).await;
        });
        if number == WARM / SIDE_BY_SIDE {
            warm = resident_kib(dev.program.pid());
        }
    }
    let said = said.lock().expect("not poisoned");
    println!("gRPC answers by code: {:?}", said.0);
    assert!(said.0.get("InvalidArgument").is_some_and(|count| *count > 1000), "{said:?}");
    assert_unharmed(&mut dev, "gRPC", warm);
    let agents = dev.api.json("/v1/agents");
    assert!(
        agents["agents"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["condition"] == "active"))
    );
    dev.interrupt();
}
