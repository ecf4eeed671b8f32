//! Every door of the master: its rpcs and its HTTP routes, each with what it does to which kind of
//! object. Routing, authorisation and the OpenAPI document are made from these tables; a test
//! compares them with the schema.

use proffer_types::rights::{Access, ObjectKind, Verb};

/// An rpc of one of the services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rpc {
    /// `OperatorService`.
    pub service: &'static str,
    /// `DrainAgent`.
    pub method: &'static str,
    /// Message that it takes.
    pub request: &'static str,
    /// Message that it gives, once or as a stream.
    pub response: &'static str,
    /// The right it needs.
    pub access: Access,
}

const fn rpc(
    service: &'static str,
    method: &'static str,
    messages: (&'static str, &'static str),
    allowed: (Verb, ObjectKind),
) -> Rpc {
    let (request, response) = messages;
    Rpc { service, method, request, response, access: Access::new(allowed.0, allowed.1) }
}

const OPERATOR: &str = "OperatorService";

/// All rpcs.
pub const RPCS: &[Rpc] = &[
    rpc(
        "SchedulerService",
        "Connect",
        ("SchedulerUp", "SchedulerDown"),
        (Verb::Subscribe, ObjectKind::Framework),
    ),
    rpc("AgentService", "Connect", ("AgentUp", "AgentDown"), (Verb::Register, ObjectKind::Agent)),
    rpc(
        "ExecutorService",
        "Connect",
        ("ExecutorUp", "ExecutorDown"),
        (Verb::Execute, ObjectKind::Task),
    ),
    operator("GetOverview", ("GetOverviewRequest", "Overview"), (Verb::Read, ObjectKind::Cluster)),
    operator(
        "ListAgents",
        ("ListAgentsRequest", "ListAgentsResponse"),
        (Verb::Read, ObjectKind::Agent),
    ),
    operator("GetAgent", ("GetAgentRequest", "GetAgentResponse"), (Verb::Read, ObjectKind::Agent)),
    operator(
        "ListFrameworks",
        ("ListFrameworksRequest", "ListFrameworksResponse"),
        (Verb::Read, ObjectKind::Framework),
    ),
    operator(
        "ListDemand",
        ("ListDemandRequest", "ListDemandResponse"),
        (Verb::Read, ObjectKind::Framework),
    ),
    operator(
        "ListTasks",
        ("ListTasksRequest", "ListTasksResponse"),
        (Verb::Read, ObjectKind::Task),
    ),
    operator("GetTask", ("GetTaskRequest", "GetTaskResponse"), (Verb::Read, ObjectKind::Task)),
    operator(
        "ListOffers",
        ("ListOffersRequest", "ListOffersResponse"),
        (Verb::Read, ObjectKind::Offer),
    ),
    operator(
        "ListRoles",
        ("ListRolesRequest", "ListRolesResponse"),
        (Verb::Read, ObjectKind::Role),
    ),
    operator("Why", ("WhyRequest", "WhyResponse"), (Verb::Read, ObjectKind::Cluster)),
    operator(
        "MarkAgentGone",
        ("MarkAgentGoneRequest", "OperatorAnswer"),
        (Verb::MarkGone, ObjectKind::Agent),
    ),
    operator(
        "DrainAgent",
        ("DrainAgentRequest", "OperatorAnswer"),
        (Verb::Drain, ObjectKind::Agent),
    ),
    operator(
        "DeactivateAgent",
        ("DeactivateAgentRequest", "OperatorAnswer"),
        (Verb::Deactivate, ObjectKind::Agent),
    ),
    operator(
        "ActivateAgent",
        ("ActivateAgentRequest", "OperatorAnswer"),
        (Verb::Activate, ObjectKind::Agent),
    ),
    operator(
        "AddMaintenance",
        ("AddMaintenanceRequest", "OperatorAnswer"),
        (Verb::Drain, ObjectKind::Agent),
    ),
    operator(
        "RemoveMaintenance",
        ("RemoveMaintenanceRequest", "OperatorAnswer"),
        (Verb::Activate, ObjectKind::Agent),
    ),
    operator(
        "StartMaintenance",
        ("StartMaintenanceRequest", "OperatorAnswer"),
        (Verb::Drain, ObjectKind::Agent),
    ),
    operator(
        "EndMaintenance",
        ("EndMaintenanceRequest", "OperatorAnswer"),
        (Verb::Activate, ObjectKind::Agent),
    ),
    operator(
        "TeardownFramework",
        ("TeardownFrameworkRequest", "OperatorAnswer"),
        (Verb::Teardown, ObjectKind::Framework),
    ),
    operator("KillTask", ("KillTaskRequest", "OperatorAnswer"), (Verb::Kill, ObjectKind::Task)),
    operator("SetRole", ("SetRoleRequest", "OperatorAnswer"), (Verb::Set, ObjectKind::Role)),
    operator(
        "ListHolds",
        ("ListHoldsRequest", "ListHoldsResponse"),
        (Verb::Read, ObjectKind::Hold),
    ),
    operator("Reserve", ("ReserveRequest", "OperatorAnswer"), (Verb::Reserve, ObjectKind::Hold)),
    operator(
        "CreateVolume",
        ("CreateVolumeRequest", "OperatorAnswer"),
        (Verb::Reserve, ObjectKind::Hold),
    ),
    operator(
        "UpdateHold",
        ("UpdateHoldRequest", "OperatorAnswer"),
        (Verb::Reserve, ObjectKind::Hold),
    ),
    operator(
        "GrowVolume",
        ("GrowVolumeRequest", "OperatorAnswer"),
        (Verb::Reserve, ObjectKind::Hold),
    ),
    operator(
        "RemoveHold",
        ("RemoveHoldRequest", "OperatorAnswer"),
        (Verb::Release, ObjectKind::Hold),
    ),
    operator(
        "AdoptHold",
        ("AdoptHoldRequest", "OperatorAnswer"),
        (Verb::Reserve, ObjectKind::Hold),
    ),
    operator("Watch", ("WatchRequest", "WatchFrame"), (Verb::Read, ObjectKind::Cluster)),
    operator(
        "ListEvents",
        ("ListEventsRequest", "ListEventsResponse"),
        (Verb::Read, ObjectKind::Event),
    ),
];

const fn operator(
    method: &'static str,
    messages: (&'static str, &'static str),
    allowed: (Verb, ObjectKind),
) -> Rpc {
    rpc(OPERATOR, method, messages, allowed)
}

impl Rpc {
    /// The path of its HTTP/2 requests.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}.{}/{}", crate::descriptor::PACKAGE, self.service, self.method)
    }
}

/// The rpc behind an HTTP/2 path such as `/proffer.v1.OperatorService/DrainAgent`.
#[must_use]
pub fn rpc_at(path: &str) -> Option<&'static Rpc> {
    let (service, method) = path
        .strip_prefix('/')?
        .strip_prefix(crate::descriptor::PACKAGE)?
        .strip_prefix('.')?
        .split_once('/')?;
    RPCS.iter().find(|rpc| rpc.service == service && rpc.method == method)
}

/// The operator rpc of that name.
#[must_use]
pub fn operator_rpc(method: &str) -> Option<&'static Rpc> {
    RPCS.iter().find(|rpc| rpc.service == OPERATOR && rpc.method == method)
}

/// HTTP methods in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Method {
    /// Look.
    Get,
    /// Do.
    Post,
    /// Set.
    Put,
    /// Change in part.
    Patch,
    /// End.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who answers a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// An operator rpc: the request is made of path, query and body, the answer is its JSON.
    Rpc {
        /// Its name.
        method: &'static str,
        /// The field of the request that is the body; `None`: no body.
        body: Option<&'static str>,
        /// Each message of the answer is an event of a server-sent stream.
        events: bool,
    },
    /// Not an rpc.
    Plain {
        /// The right it needs.
        access: Access,
        /// Media type of the answer.
        media: &'static str,
        /// One sentence for the document.
        summary: &'static str,
    },
}

/// One route. Parts of the path in braces are fields of the request; `{*name}` takes the rest of
/// the path, slashes included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: Method,
    /// Path template.
    pub path: &'static str,
    /// Who answers.
    pub target: Target,
}

const fn read(path: &'static str, rpc: &'static str) -> Route {
    act(Method::Get, path, rpc)
}

const fn act(method: Method, path: &'static str, rpc: &'static str) -> Route {
    Route { method, path, target: Target::Rpc { method: rpc, body: None, events: false } }
}

const fn with_body(
    method: Method,
    path: &'static str,
    rpc: &'static str,
    body: &'static str,
) -> Route {
    let target = Target::Rpc { method: rpc, body: Some(body), events: false };
    Route { method, path, target }
}

const fn plain(
    method: Method,
    path: &'static str,
    allowed: (Verb, ObjectKind),
    answer: (&'static str, &'static str),
) -> Route {
    let (media, summary) = answer;
    let access = Access::new(allowed.0, allowed.1);
    Route { method, path, target: Target::Plain { access, media, summary } }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const BYTES: &str = "application/octet-stream";
/// A route of the service framework's API, passed on to it.
const fn service(method: Method, path: &'static str, verb: Verb, summary: &'static str) -> Route {
    plain(method, path, (verb, ObjectKind::Service), (JSON, summary))
}

/// All routes.
pub const ROUTES: &[Route] = &[
    read("/v1/overview", "GetOverview"),
    read("/v1/agents", "ListAgents"),
    read("/v1/agents/{id}", "GetAgent"),
    act(Method::Post, "/v1/agents/{id}/gone", "MarkAgentGone"),
    act(Method::Post, "/v1/agents/{id}/drain", "DrainAgent"),
    act(Method::Post, "/v1/agents/{id}/deactivate", "DeactivateAgent"),
    act(Method::Post, "/v1/agents/{id}/activate", "ActivateAgent"),
    Route {
        method: Method::Post,
        path: "/v1/maintenance",
        target: Target::Rpc { method: "AddMaintenance", body: Some("window"), events: false },
    },
    act(Method::Delete, "/v1/maintenance/{id}", "RemoveMaintenance"),
    act(Method::Post, "/v1/maintenance/{id}/start", "StartMaintenance"),
    act(Method::Post, "/v1/maintenance/{id}/end", "EndMaintenance"),
    read("/v1/frameworks", "ListFrameworks"),
    act(Method::Delete, "/v1/frameworks/{id}", "TeardownFramework"),
    read("/v1/demand", "ListDemand"),
    read("/v1/tasks", "ListTasks"),
    read("/v1/tasks/{framework}/{task}", "GetTask"),
    act(Method::Delete, "/v1/tasks/{framework}/{task}", "KillTask"),
    plain(
        Method::Get,
        "/v1/tasks/{framework}/{task}/logs",
        (Verb::Read, ObjectKind::Sandbox),
        (TEXT, "the task's output, passed on from its agent"),
    ),
    plain(
        Method::Get,
        "/v1/tasks/{framework}/{task}/files",
        (Verb::Read, ObjectKind::Sandbox),
        (BYTES, "a directory or file of the task's sandbox, passed on from its agent"),
    ),
    read("/v1/offers", "ListOffers"),
    read("/v1/roles", "ListRoles"),
    with_body(Method::Put, "/v1/roles/{*role}", "SetRole", "config"),
    read("/v1/holds", "ListHolds"),
    with_body(Method::Post, "/v1/agents/{agent}/reservations", "Reserve", "new"),
    with_body(Method::Post, "/v1/volumes", "CreateVolume", "new"),
    with_body(Method::Patch, "/v1/holds/{id}", "UpdateHold", "change"),
    act(Method::Post, "/v1/volumes/{id}/grow", "GrowVolume"),
    act(Method::Delete, "/v1/holds/{id}", "RemoveHold"),
    act(Method::Post, "/v1/agents/{agent}/holds/{id}/adopt", "AdoptHold"),
    read("/v1/why/{kind}/{*subject}", "Why"),
    read("/v1/events", "ListEvents"),
    Route {
        method: Method::Get,
        path: "/v1/watch",
        target: Target::Rpc { method: "Watch", body: None, events: true },
    },
    service(Method::Get, "/v1/services", Verb::Read, "services, with their state"),
    service(
        Method::Post,
        "/v1/services",
        Verb::Change,
        "deploys the services of a file; the body is the file (YAML)",
    ),
    service(
        Method::Post,
        "/v1/services/-/validate",
        Verb::Change,
        "says what is wrong with a file; deploys nothing",
    ),
    service(
        Method::Post,
        "/v1/services/-/scale",
        Verb::Change,
        "sets how many instances several services have; all of them or none",
    ),
    service(
        Method::Get,
        "/v1/services/-/events",
        Verb::Read,
        "the event log of all services; `watch=1` follows it, `last=N` is its end",
    ),
    service(
        Method::Get,
        "/v1/services/{name}",
        Verb::Read,
        "one service: rollout, instances, slots; `watch=1` follows it",
    ),
    service(Method::Delete, "/v1/services/{name}", Verb::Change, "ends a service and forgets it"),
    service(Method::Get, "/v1/services/{name}/instances", Verb::Read, "its instances"),
    service(Method::Get, "/v1/services/{name}/history", Verb::Read, "its revisions"),
    service(Method::Get, "/v1/services/{name}/why", Verb::Read, "what each slot waits for"),
    service(
        Method::Get,
        "/v1/services/{name}/endpoints",
        Verb::Read,
        "where it answers; `watch=1` follows it",
    ),
    service(
        Method::Get,
        "/v1/services/{name}/events",
        Verb::Read,
        "its event log; `watch=1` follows it, `last=N` is its end",
    ),
    service(
        Method::Post,
        "/v1/services/{name}/scale",
        Verb::Change,
        "sets how many instances there are",
    ),
    service(
        Method::Post,
        "/v1/services/{name}/rollback",
        Verb::Change,
        "goes back to an earlier revision",
    ),
    service(
        Method::Post,
        "/v1/services/{name}/restart",
        Verb::Change,
        "replaces all instances by the rules of its rollout",
    ),
    service(
        Method::Post,
        "/v1/services/{name}/stop",
        Verb::Change,
        "ends its instances and keeps the rest",
    ),
    service(
        Method::Post,
        "/v1/services/{name}/start",
        Verb::Change,
        "starts it again after a stop",
    ),
    plain(
        Method::Get,
        "/metrics",
        (Verb::Read, ObjectKind::Metrics),
        (TEXT, "numbers in the text format of Prometheus"),
    ),
    plain(
        Method::Get,
        "/healthz",
        (Verb::Read, ObjectKind::Health),
        (TEXT, "whether this process serves"),
    ),
    plain(
        Method::Get,
        "/openapi.json",
        (Verb::Read, ObjectKind::Document),
        (JSON, "this document"),
    ),
    plain(Method::Get, "/ui", (Verb::Read, ObjectKind::Page), ("text/html", "the web page")),
    plain(
        Method::Get,
        "/ui/{*file}",
        (Verb::Read, ObjectKind::Page),
        (BYTES, "a file of the web page"),
    ),
];

impl Route {
    /// The rpc that answers, if one does.
    #[must_use]
    pub fn rpc(&self) -> Option<&'static Rpc> {
        match self.target {
            Target::Rpc { method, .. } => operator_rpc(method),
            Target::Plain { .. } => None,
        }
    }

    /// The right it needs: the same for a route as for its rpc.
    #[must_use]
    pub fn access(&self) -> Access {
        match self.target {
            Target::Plain { access, .. } => access,
            Target::Rpc { method, .. } => {
                let rpc = operator_rpc(method).expect("a test finds the rpc of each route");
                rpc.access
            }
        }
    }

    /// Names of the parameters in its path, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| name.strip_prefix('*').unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::schema;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_of_rpcs_is_the_schema() {
        let strip = |name: &str| name.strip_prefix(".proffer.v1.").expect("ours").to_owned();
        let declared: BTreeSet<_> = schema()
            .methods
            .iter()
            .map(|method| {
                let rpc = &method.descriptor;
                let (input, output) = (strip(rpc.input_type()), strip(rpc.output_type()));
                (method.service.clone(), rpc.name().to_owned(), input, output)
            })
            .collect();
        let listed: BTreeSet<_> = RPCS
            .iter()
            .map(|rpc| {
                let [service, method, request, response] =
                    [rpc.service, rpc.method, rpc.request, rpc.response].map(str::to_owned);
                (service, method, request, response)
            })
            .collect();
        assert_eq!(listed, declared, "every rpc has its line in RPCS, and no other");
        assert_eq!(listed.len(), RPCS.len(), "no line twice");
        for rpc in RPCS {
            assert_eq!(rpc_at(&rpc.path()), Some(rpc));
        }
        assert_eq!(rpc_at("/proffer.v1.OperatorService/Nothing"), None);
    }

    #[test]
    fn every_operator_rpc_has_a_route_and_its_parameters_are_fields() {
        let mut routed = BTreeSet::new();
        for route in ROUTES {
            let Target::Rpc { method, body, .. } = route.target else { continue };
            let rpc = operator_rpc(method).expect(method);
            let request = schema().message(rpc.request).expect(rpc.request);
            for name in route.parameters().chain(body) {
                assert!(request.field(name).is_some(), "{}: {name}", route.path);
            }
            assert_eq!(route.access(), rpc.access);
            routed.insert(method);
        }
        let operator = RPCS.iter().filter(|rpc| rpc.service == OPERATOR);
        assert_eq!(routed, operator.map(|rpc| rpc.method).collect());
        let distinct: BTreeSet<_> = ROUTES.iter().map(|r| (r.method, r.path)).collect();
        assert_eq!(distinct.len(), ROUTES.len());
    }

    #[test]
    fn the_paths_of_mesos_stay_free() {
        assert!(ROUTES.iter().all(|route| !route.path.starts_with("/api/")));
    }
}
