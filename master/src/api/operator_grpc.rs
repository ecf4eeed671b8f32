//! The operators' gRPC door: every method is one of [`super::operator`] with the status of gRPC.

use super::operator::Operator;
use super::watch::{FrameStream, frames};
use proffer_proto::pb;
use proffer_proto::pb::operator_service_server::OperatorService;
use proffer_types::Refusal;
use proffer_types::operator::OperatorCall;
use tonic::{Request, Response, Status};

/// Reads: the request is passed on, the answer is passed back.
macro_rules! reads {
    ($($name:ident: $ask:ident -> $answer:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl OperatorService for Operator {
            $(async fn $name(&self, ask: Request<pb::$ask>) -> Result<Response<pb::$answer>, Status> {
                self.to_grpc(Operator::$name(self, ask.into_inner()).await)
            })+

            async fn mark_agent_gone(&self, ask: Request<pb::MarkAgentGoneRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn drain_agent(&self, ask: Request<pb::DrainAgentRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn deactivate_agent(&self, ask: Request<pb::DeactivateAgentRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn activate_agent(&self, ask: Request<pb::ActivateAgentRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn add_maintenance(&self, ask: Request<pb::AddMaintenanceRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn remove_maintenance(&self, ask: Request<pb::RemoveMaintenanceRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn start_maintenance(&self, ask: Request<pb::StartMaintenanceRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn end_maintenance(&self, ask: Request<pb::EndMaintenanceRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn teardown_framework(&self, ask: Request<pb::TeardownFrameworkRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn kill_task(&self, ask: Request<pb::KillTaskRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn set_role(&self, ask: Request<pb::SetRoleRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn reserve(&self, ask: Request<pb::ReserveRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn create_volume(&self, ask: Request<pb::CreateVolumeRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn update_hold(&self, ask: Request<pb::UpdateHoldRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn grow_volume(&self, ask: Request<pb::GrowVolumeRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn remove_hold(&self, ask: Request<pb::RemoveHoldRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }
            async fn adopt_hold(&self, ask: Request<pb::AdoptHoldRequest>) -> Result<Response<pb::OperatorAnswer>, Status> {
                self.verb(ask).await
            }

            type WatchStream = FrameStream;
            async fn watch(&self, ask: Request<pb::WatchRequest>) -> Result<Response<FrameStream>, Status> {
                self.to_grpc(frames(&self.reads, &ask.into_inner()).await)
            }
        }
    };
}

reads! {
    get_overview: GetOverviewRequest -> Overview,
    list_agents: ListAgentsRequest -> ListAgentsResponse,
    get_agent: GetAgentRequest -> GetAgentResponse,
    list_frameworks: ListFrameworksRequest -> ListFrameworksResponse,
    list_demand: ListDemandRequest -> ListDemandResponse,
    list_tasks: ListTasksRequest -> ListTasksResponse,
    get_task: GetTaskRequest -> GetTaskResponse,
    list_offers: ListOffersRequest -> ListOffersResponse,
    list_holds: ListHoldsRequest -> ListHoldsResponse,
    list_roles: ListRolesRequest -> ListRolesResponse,
    list_events: ListEventsRequest -> ListEventsResponse,
    why: WhyRequest -> WhyResponse,
}

impl Operator {
    async fn verb<A>(&self, ask: Request<A>) -> Result<Response<pb::OperatorAnswer>, Status>
    where
        OperatorCall: TryFrom<A, Error = Refusal>,
    {
        let principal = super::principal(ask.extensions())?;
        let call = OperatorCall::try_from(ask.into_inner())
            .map_err(|refusal| super::to_status(&refusal))?;
        self.to_grpc(self.call(principal, call).await)
    }

    fn to_grpc<T>(&self, answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
        let mut answer = Response::new(answer.map_err(|refusal| super::to_status(&refusal))?);
        self.reads.mark_grpc(answer.metadata_mut());
        Ok(answer)
    }
}
