//! `proffer reserve|unreserve|reservations|volumes`: what is kept for whom on which agent.

use crate::args::{
    AdoptHold, CreateVolume, HoldFilter, Output, RemovedHold, ReservationVerb, Reservations,
    Reserve, Trying, UpdateHold, VolumeVerb, Volumes,
};
use crate::client::Client;
use crate::commands::agents::{all, find};
use crate::exit::{ExitCode, Failure};
use crate::output::{Table, confirm, json, line};
use crate::percent::encode;
use crate::resources::words;
use proffer_proto::pb;
use proffer_types::hold::HoldState;
use proffer_types::{Bytes, HoldId, Resources};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an agent may take to carry out an order before the wait for it ends.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The state of what agents were started with.
const STATIC: &str = "static";
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether rows of reservations or of volumes are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reservation,
    Volume,
}

/// What is to become of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    There,
    /// There, and changed since this number.
    Changed(u64),
    Gone,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Reservation => "reservation",
            Self::Volume => "volume",
        }
    }

    /// The id, when it is one of this kind.
    fn id(self, text: &str) -> Result<HoldId, Failure> {
        let id: HoldId = text.parse()?;
        let is_volume = matches!(id, HoldId::Volume(_));
        if is_volume == (self == Self::Volume) {
            return Ok(id);
        }
        Err(Failure::new(ExitCode::Usage, format!("{id} is no {}", self.word())))
    }
}

fn usage(what: &str) -> impl Fn(String) -> Failure + '_ {
    move |why| Failure::new(ExitCode::Usage, format!("{what}: {why}"))
}

pub(crate) async fn reserve(client: &Client, output: Output, args: Reserve) -> Result<(), Failure> {
    let agent = find(client, &args.agent).await?;
    let resources: Resources =
        args.resources.parse().map_err(|error: proffer_types::resources::ResourceError| {
            usage("--resources")(error.to_string())
        })?;
    let new = pb::NewReservation {
        resources: proffer_proto::convert::resources_to_pb(resources),
        below: args.below.unwrap_or_default(),
        role: args.role,
        labels: labels(&args.labels)?,
        reclaim: args.reclaim.word(),
    };
    let path = format!("/v1/agents/{agent}/reservations{}", query(args.trying));
    let answer = client.post(&path, body(&new)?).await?;
    finish(client, output, args.trying, Goal::There, answer).await
}

pub(crate) async fn unreserve(
    client: &Client,
    output: Output,
    args: RemovedHold,
) -> Result<(), Failure> {
    remove(client, output, Kind::Reservation, args).await
}

pub(crate) async fn reservations(
    client: &Client,
    output: Output,
    args: Reservations,
) -> Result<(), Failure> {
    let kind = Kind::Reservation;
    match args.verb {
        None => list(client, output, kind, args.filter).await,
        Some(ReservationVerb::Update(args)) => update(client, output, kind, args).await,
        Some(ReservationVerb::Adopt(args)) => adopt(client, output, kind, args).await,
    }
}

pub(crate) async fn volumes(client: &Client, output: Output, args: Volumes) -> Result<(), Failure> {
    let kind = Kind::Volume;
    match args.verb {
        None => list(client, output, kind, args.filter).await,
        Some(VolumeVerb::List(filter)) => list(client, output, kind, filter).await,
        Some(VolumeVerb::Create(args)) => create(client, output, args).await,
        Some(VolumeVerb::Grow { id, size, trying }) => {
            let id = kind.id(&id)?;
            let bytes = Bytes::parse(&size).map_err(usage("--size"))?.0;
            let goal = Goal::Changed(op_of(client, id).await?);
            let dry_run = trying.dry_run;
            let path = format!("/v1/volumes/{id}/grow?bytes={bytes}&dry_run={dry_run}");
            let answer = client.post(&path, Vec::new()).await?;
            finish(client, output, trying, goal, answer).await
        }
        Some(VolumeVerb::Update(args)) => update(client, output, kind, args).await,
        Some(VolumeVerb::Destroy(args)) => remove(client, output, kind, args).await,
        Some(VolumeVerb::Adopt(args)) => adopt(client, output, kind, args).await,
    }
}

async fn create(client: &Client, output: Output, args: CreateVolume) -> Result<(), Failure> {
    let new = pb::NewVolume {
        on: Kind::Reservation.id(&args.on)?.to_string(),
        bytes: Bytes::parse(&args.size).map_err(usage("--size"))?.0,
        container_path: args.path,
        shared: args.shared,
        reclaim: args.reclaim.word(),
    };
    let path = format!("/v1/volumes{}", query(args.trying));
    let answer = client.post(&path, body(&new)?).await?;
    finish(client, output, args.trying, Goal::There, answer).await
}

async fn update(
    client: &Client,
    output: Output,
    kind: Kind,
    args: UpdateHold,
) -> Result<(), Failure> {
    let id = kind.id(&args.id)?;
    let change = pb::HoldChange {
        role: args.role,
        set_labels: args.no_labels || !args.labels.is_empty(),
        labels: labels(&args.labels)?,
        owner: args.owner,
        reclaim: args.reclaim.map(|reclaim| reclaim.word()),
    };
    if change == pb::HoldChange::default() {
        let failure = Failure::new(ExitCode::Usage, "nothing is to be changed");
        return Err(failure.hint("--role, --label, --no-labels, --owner or --reclaim"));
    }
    let goal = Goal::Changed(op_of(client, id).await?);
    let path = format!("/v1/holds/{id}{}", query(args.trying));
    let answer = client.patch(&path, body(&change)?).await?;
    finish(client, output, args.trying, goal, answer).await
}

async fn adopt(
    client: &Client,
    output: Output,
    kind: Kind,
    args: AdoptHold,
) -> Result<(), Failure> {
    let (agent, id) = (find(client, &args.agent).await?, kind.id(&args.id)?);
    let path = format!("/v1/agents/{agent}/holds/{id}/adopt{}", query(args.trying));
    let answer = client.post(&path, Vec::new()).await?;
    finish(client, output, args.trying, Goal::There, answer).await
}

/// Says what will be lost before it asks: the preview is the master's own.
async fn remove(
    client: &Client,
    output: Output,
    kind: Kind,
    args: RemovedHold,
) -> Result<(), Failure> {
    let id = kind.id(&args.id)?;
    let path = format!("/v1/holds/{id}");
    let preview: pb::OperatorAnswer = client.delete(&format!("{path}?dry_run=true")).await?;
    if args.trying.dry_run {
        return print(output, &preview);
    }
    if !args.yes && !confirm(&format!("{}. Go on?", preview.message)) {
        return Err(Failure::new(ExitCode::Refused, "not confirmed").hint("add --yes"));
    }
    let answer = client.delete(&path).await?;
    finish(client, output, args.trying, Goal::Gone, answer).await
}

fn query(trying: Trying) -> String {
    format!("?dry_run={}", trying.dry_run)
}

fn body<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(message).map_err(|error| Failure::new(ExitCode::Error, error.to_string()))
}

fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(usage("--label")(format!("{text:?} is not of the form KEY=VALUE"))),
    };
    pairs.iter().map(pair).collect()
}

fn print(output: Output, answer: &pb::OperatorAnswer) -> Result<(), Failure> {
    match output {
        Output::Text => line(&answer.message),
        Output::Json => json(answer),
    }
    Ok(())
}

/// Waits until the agent has done what was written down. The answer begins with the id.
async fn finish(
    client: &Client,
    output: Output,
    trying: Trying,
    goal: Goal,
    answer: pb::OperatorAnswer,
) -> Result<(), Failure> {
    let id = answer.message.split(' ').next().and_then(|word| word.parse::<HoldId>().ok());
    let Some(id) = id.filter(|_| !trying.dry_run && !trying.detach) else {
        return print(output, &answer);
    };
    let waited = tokio::time::timeout(WAIT_MAX, settled(client, id, &answer.cursor)).await;
    let Ok(row) = waited else {
        print(output, &answer)?;
        let message = format!("{id}: the agent has not done it yet; it goes on");
        return Err(Failure::new(ExitCode::Timeout, message));
    };
    let is = |row: &pb::HoldRow| row.state == HoldState::Applied.as_str();
    match (row?, goal) {
        (None, Goal::Gone) => print(output, &answer),
        (Some(row), Goal::There) if is(&row) => print(output, &answer),
        (Some(row), Goal::Changed(before)) if is(&row) && op(&row) > before => {
            print(output, &answer)
        }
        (Some(row), _) if !is(&row) => {
            let failure = Failure::new(ExitCode::Refused, format!("{id} is {}", row.state));
            Err(failure.hint(row.message))
        }
        (None | Some(_), _) => {
            let message = format!("{id} is as it was: its agent has refused the change");
            Err(Failure::new(ExitCode::Refused, message)
                .hint("proffer events tells why, as hold_refused"))
        }
    }
}

fn op(row: &pb::HoldRow) -> u64 {
    row.hold.as_ref().map_or(0, |hold| hold.op)
}

/// How often it was changed.
async fn op_of(client: &Client, id: HoldId) -> Result<u64, Failure> {
    let (rows, name) = (rows(client, "").await?, id.to_string());
    let is = |row: &&pb::HoldRow| row.hold.as_ref().is_some_and(|hold| hold.id == name);
    Ok(rows.iter().find(is).map_or(0, op))
}

/// The row once its agent has nothing more to do; `None` when there is none any more.
async fn settled(
    client: &Client,
    id: HoldId,
    cursor: &str,
) -> Result<Option<pb::HoldRow>, Failure> {
    loop {
        let rows = rows(client, &format!("at_least={}", encode(cursor))).await?;
        let name = id.to_string();
        let row = rows.into_iter().find(|row| row.hold.as_ref().is_some_and(|it| it.id == name));
        let is_open = row.as_ref().is_some_and(|row| {
            [HoldState::Pending, HoldState::Removing].iter().any(|it| it.as_str() == row.state)
        });
        if !is_open {
            return Ok(row);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What an agent was started with for roles. No call changes it, so it has no id.
fn static_rows(agent: &pb::AgentRow) -> Vec<pb::HoldRow> {
    let resources = agent.info.iter().flat_map(|info| &info.resources);
    let mut rows: Vec<(&[pb::Reservation], pb::Hold)> = Vec::new();
    for resource in resources {
        let Some((last, below)) = resource.reservations.split_last() else { continue };
        let levels = resource.reservations.as_slice();
        let part = pb::Resource { reservations: below.to_vec(), ..resource.clone() };
        match rows.iter_mut().find(|(have, _)| *have == levels) {
            Some((_, hold)) => hold.resources.push(part),
            None => {
                let (role, labels) = (last.role.clone(), last.labels.clone());
                let hold = pb::Hold { resources: vec![part], role, labels, ..pb::Hold::default() };
                rows.push((levels, hold));
            }
        }
    }
    let row = |(_, hold)| pb::HoldRow {
        agent: agent.id.clone(),
        hold: Some(hold),
        state: STATIC.to_owned(),
        message: "its agent was started with it".to_owned(),
        ..pb::HoldRow::default()
    };
    rows.into_iter().map(row).collect()
}

/// All rows, page by page.
async fn rows(client: &Client, query: &str) -> Result<Vec<pb::HoldRow>, Failure> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/holds?{query}&after={}", encode(&after));
        let page: pb::ListHoldsResponse = client.get(&path).await?;
        rows.extend(page.holds);
        if page.next.is_empty() {
            return Ok(rows);
        }
        after = page.next;
    }
}

async fn list(
    client: &Client,
    output: Output,
    kind: Kind,
    filter: HoldFilter,
) -> Result<(), Failure> {
    let agent = match &filter.agent {
        Some(agent) => find(client, agent).await?,
        None => String::new(),
    };
    let query = format!(
        "kind={}&role={}&agent={agent}&state={}",
        kind.word(),
        encode(filter.role.as_deref().unwrap_or_default()),
        encode(filter.state.as_deref().unwrap_or_default())
    );
    let wants_static = filter.state.as_deref() == Some(STATIC);
    let mut rows = if wants_static { Vec::new() } else { rows(client, &query).await? };
    if kind == Kind::Reservation && (wants_static || filter.state.is_none()) {
        let agents = all(client).await?;
        let agents = agents.iter().filter(|row| agent.is_empty() || row.id == agent);
        let of_role = |row: &pb::HoldRow| {
            let hold = row.hold.as_ref();
            filter.role.is_none() || filter.role == hold.map(|hold| hold.role.clone())
        };
        rows.extend(agents.flat_map(static_rows).filter(of_role));
    }
    if output == Output::Json {
        json(&rows);
        return Ok(());
    }
    let last = match kind {
        Kind::Reservation => "LABELS",
        Kind::Volume => "PATH",
    };
    let mut table = Table::new(&[
        "ID",
        "AGENT",
        "ROLE",
        "WHAT",
        "STATE",
        "OWNER",
        "FRAMEWORK",
        "RECLAIM",
        last,
        "NOTE",
    ]);
    for row in rows {
        let hold = row.hold.unwrap_or_default();
        let levels =
            hold.resources.first().map(|it| it.reservations.as_slice()).unwrap_or_default();
        let below = levels.last().map(|level| level.role.clone());
        let (role, last) = match kind {
            Kind::Reservation => {
                let pairs: Vec<String> =
                    hold.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                (hold.role.clone(), pairs.join(","))
            }
            Kind::Volume => {
                let shared = if hold.shared { " (shared)" } else { "" };
                (below.unwrap_or_default(), format!("{}{shared}", hold.container_path))
            }
        };
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row([
            or_dash(hold.id),
            row.agent,
            role,
            words(&hold.resources),
            row.state,
            or_dash(hold.owner),
            or_dash(hold.framework),
            or_dash(hold.reclaim),
            last,
            row.message,
        ]);
    }
    table.print();
    Ok(())
}
