//! The doors of the master. Each decodes, asks who speaks, turns what came into a typed request, and
//! passes it on: writes to the loop, reads to the published view. No door touches state.

use crate::connections::Connections;
use crate::leading::Leading;
use proffer_net::{Peer, Routes};
use proffer_proto::pb::agent_service_server::AgentServiceServer;
use proffer_proto::pb::operator_service_server::OperatorServiceServer;
use proffer_proto::pb::scheduler_service_server::SchedulerServiceServer;
use proffer_proto::routes::RPCS;
use proffer_types::rights::{Access, ObjectKind, Verb};
use proffer_types::{PrincipalName, Refusal, RefusalCode};
use std::sync::Arc;
use tonic::{Extensions, Status};

pub(crate) mod agents;
pub(crate) mod http;
pub(crate) mod operator;
pub(crate) mod operator_grpc;
pub(crate) mod page;
pub(crate) mod proxy;
pub(crate) mod reads;
pub(crate) mod schedulers;
pub(crate) mod watch;

/// Who speaks, as records name him.
pub(crate) fn principal_of(peer: &Peer) -> Result<PrincipalName, Refusal> {
    PrincipalName::new(&peer.principal.to_string())
}

/// The same for a gRPC call. The gate puts a peer into every request: without one there was no gate.
pub(crate) fn principal(extensions: &Extensions) -> Result<PrincipalName, Status> {
    let peer = extensions.get::<Peer>().ok_or_else(|| {
        Refusal::new(RefusalCode::InternalBug, "", "the call did not pass the gate")
    });
    peer.and_then(principal_of).map_err(|refusal| to_status(&refusal))
}

/// A refusal as the status of a gRPC call.
pub(crate) fn to_status(refusal: &Refusal) -> Status {
    proffer_proto::status::to_status(refusal)
}

/// Frames from agents and frameworks may be this large; their conversion bounds what is in them.
const FRAME_BYTES_MAX: usize = proffer_proto::convert::bounds::FRAME_BYTES_MAX;

/// Health and reflection, as gRPC tools expect them.
const STANDARD_RPCS: [(&str, ObjectKind); 3] = [
    ("/grpc.health.v1.Health/Check", ObjectKind::Health),
    ("/grpc.health.v1.Health/Watch", ObjectKind::Health),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", ObjectKind::Document),
];

/// The gRPC doors, each method with the right it needs.
pub(crate) fn grpc(
    operator: operator::Operator,
    connections: Arc<Connections>,
    leading: Arc<Leading>,
) -> Routes {
    let agents =
        agents::AgentDoor { connections: Arc::clone(&connections), leading: Arc::clone(&leading) };
    let schedulers = schedulers::SchedulerDoor { connections, leading };
    let mut services = tonic::service::Routes::new(
        AgentServiceServer::new(agents).max_decoding_message_size(FRAME_BYTES_MAX),
    );
    services = services.add_service(
        SchedulerServiceServer::new(schedulers).max_decoding_message_size(FRAME_BYTES_MAX),
    );
    services = services.add_service(OperatorServiceServer::new(operator));
    // A fresh reporter says that the server as a whole serves, which is true while anybody can ask.
    let (_reporter, health) = tonic_health::server::health_reporter();
    services = services.add_service(health);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proffer_proto::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("a test reads the descriptor set that the build made");
    services = services.add_service(reflection);
    let rules: Vec<(String, Access)> = RPCS
        .iter()
        // Executors speak to their agent, not to the master.
        .filter(|rpc| rpc.service != "ExecutorService")
        .map(|rpc| (rpc.path(), rpc.access))
        .chain(STANDARD_RPCS.map(|(path, kind)| (path.to_owned(), Access::new(Verb::Read, kind))))
        .collect();
    Routes::new().grpc(services, rules.iter().map(|(path, access)| (path.as_str(), *access)))
}
