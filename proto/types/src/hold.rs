//! Holds: dynamic reservations and persistent volumes as objects (K18). A hold takes resources of an
//! agent as they are without it and gives them back with one level or a volume more; what an agent has
//! for everybody else follows from what it reports and from its holds.

use crate::ids::{AgentId, FrameworkId, PrincipalName, ReservationId, RoleName, VolumeId};
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::resources::{
    Quantity, Reservation, Resource, ResourceError, ResourceKey, ResourceName, Resources, Volume,
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A reservation or a volume. Both are numbered by one counter, so that a number names one thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HoldId {
    /// `r12`.
    Reservation(ReservationId),
    /// `v13`.
    Volume(VolumeId),
}

impl HoldId {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Reservation(id) => id.0,
            Self::Volume(id) => id.0,
        }
    }

    /// Whether it is a volume, for which the order of two of one number is decided.
    const fn rank(self) -> u8 {
        match self {
            Self::Reservation(_) => 0,
            Self::Volume(_) => 1,
        }
    }
}

impl Ord for HoldId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number(), self.rank()).cmp(&(other.number(), other.rank()))
    }
}
impl PartialOrd for HoldId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reservation(id) => fmt::Display::fmt(id, f),
            Self::Volume(id) => fmt::Display::fmt(id, f),
        }
    }
}
impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for HoldId {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.starts_with('v') {
            return text.parse().map(Self::Volume);
        }
        text.parse().map(Self::Reservation).map_err(|_: Refusal| {
            Refusal::new(
                RefusalCode::InvalidArgument,
                "HoldId",
                format!("{:?} is neither r<number> nor v<number>", excerpt(text)),
            )
        })
    }
}
impl TryFrom<String> for HoldId {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}
impl From<HoldId> for String {
    fn from(id: HoldId) -> Self {
        id.to_string()
    }
}

/// A hold at an agent. Two agents may claim one id when a disk or a registry was restored from a copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct HoldKey {
    /// Where.
    pub agent: AgentId,
    /// Which.
    pub id: HoldId,
}

impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.id)
    }
}
impl FromStr for HoldKey {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (agent, id) = text.split_once('/').ok_or_else(|| {
            let message = format!("{:?} is not of the form a<number>/r<number>", excerpt(text));
            Refusal::new(RefusalCode::InvalidArgument, "HoldKey", message)
        })?;
        Ok(Self { agent: agent.parse()?, id: id.parse()? })
    }
}

/// What becomes of a hold when the framework that made it is removed.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ReclaimPolicy {
    /// It stays and is listed, for an operator to decide.
    #[default]
    Retain,
    /// It is removed, a volume with its data.
    Delete,
}

crate::words::words!(ReclaimPolicy { Retain = "retain", Delete = "delete" });

/// What kind of hold it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// The resources are kept for a role.
    Reservation {
        /// For whom; a strict descendant of the level below.
        role: RoleName,
        /// Free labels.
        labels: BTreeMap<String, String>,
    },
    /// The disk is a volume that outlives tasks.
    Volume {
        /// Where it appears, below the sandbox of a container.
        container_path: String,
        /// Several tasks may use it at a time.
        shared: bool,
    },
}

/// A dynamic reservation or a persistent volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Counts its changes, 1 at first: an agent carries out each number once.
    pub op: u64,
    /// What it takes, as it is without it: all entries have the same levels.
    pub resources: Resources,
    /// What it makes of them.
    pub kind: HoldKind,
    /// To whom it belongs (K20).
    pub owner: PrincipalName,
    /// The framework that made it; `None`: an operator did.
    pub framework: Option<FrameworkId>,
    /// What becomes of it when that framework is removed.
    pub reclaim: ReclaimPolicy,
}

/// Bytes of the labels of one reservation: they travel with every offer of it.
pub const LABELS_BYTES_MAX: usize = 4 << 10;
/// Bytes of the path of a volume.
pub const PATH_BYTES_MAX: usize = 255;
/// Holds of one agent: they are in its registration and in its books.
pub const AGENT_HOLDS_MAX: usize = 1024;

impl Hold {
    /// The levels that it rests on.
    #[must_use]
    pub fn levels(&self) -> &[Reservation] {
        self.resources.entries().first().map_or(&[], |entry| &entry.key.reservations)
    }

    /// The role that may use it.
    #[must_use]
    pub fn role(&self) -> Option<&RoleName> {
        match &self.kind {
            HoldKind::Reservation { role, .. } => Some(role),
            HoldKind::Volume { .. } => self.levels().last().map(|level| &level.role),
        }
    }

    /// What it gives: the same with one level, or the volume, more.
    #[must_use]
    pub fn held(&self) -> Resources {
        let entries = self.resources.entries().iter().cloned().map(|mut entry| {
            match (&self.kind, self.id) {
                (HoldKind::Reservation { role, labels }, _) => {
                    entry.key.reservations.push(Reservation {
                        role: role.clone(),
                        principal: Some(self.owner.clone()),
                        is_static: false,
                        labels: labels.clone(),
                    });
                }
                (HoldKind::Volume { container_path, shared }, HoldId::Volume(id)) => {
                    let container_path = container_path.clone();
                    entry.key.volume = Some(Volume { id, container_path });
                    entry.key.shared = *shared;
                }
                // `validate` lets none through.
                (HoldKind::Volume { .. }, HoldId::Reservation(_)) => {}
            }
            entry
        });
        // Entries of one set that all change alike stay apart and add up.
        Resources::from_entries(entries.collect()).unwrap_or_default()
    }

    /// Checks everything that can be checked without knowing the agent.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn validate(&self) -> Result<(), Refusal> {
        let wrong = |field: &str, message: String| {
            Err(Refusal::new(RefusalCode::InvalidArgument, field, message))
        };
        if self.resources.is_empty() {
            return wrong("resources", "are empty".to_owned());
        }
        let levels = self.levels();
        for entry in self.resources.entries() {
            let key = &entry.key;
            if key.volume.is_some() || key.shared || key.revocable {
                let message = format!("{} is a volume or revocable", key.name);
                return wrong("resources", message);
            }
            if key.reservations != levels {
                return wrong("resources", "are on different levels of reservation".to_owned());
            }
        }
        match (&self.kind, self.id) {
            (HoldKind::Reservation { role, labels }, HoldId::Reservation(_)) => {
                check_role(role, levels)?;
                check_labels(labels)
            }
            (HoldKind::Volume { container_path, .. }, HoldId::Volume(_)) => {
                let [entry] = self.resources.entries() else {
                    return wrong("resources", "a volume is on disk and nothing else".to_owned());
                };
                if entry.key.name != ResourceName::Disk {
                    return wrong(
                        "resources",
                        format!("a volume is on disk, not on {}", entry.key.name),
                    );
                }
                if levels.is_empty() {
                    return wrong("resources", "a volume is on reserved disk".to_owned());
                }
                check_path(container_path)
            }
            (HoldKind::Reservation { .. } | HoldKind::Volume { .. }, id) => {
                wrong("id", format!("{id} is of the other kind"))
            }
        }
    }
}

fn check_role(role: &RoleName, levels: &[Reservation]) -> Result<(), Refusal> {
    let wrong = |message: String| Err(Refusal::new(RefusalCode::InvalidArgument, "role", message));
    if role.as_str() == "*" {
        return wrong("resources of * are for anyone".to_owned());
    }
    match levels.last() {
        Some(below) if !is_below(role, &below.role) => {
            wrong(format!("{role} is not below {}, for which they are reserved", below.role))
        }
        Some(_) | None => Ok(()),
    }
}

fn is_below(role: &RoleName, above: &RoleName) -> bool {
    role.as_str().strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes <= LABELS_BYTES_MAX {
        return Ok(());
    }
    let message = format!("have {bytes} bytes, more than {LABELS_BYTES_MAX}");
    Err(Refusal::new(RefusalCode::BudgetExceeded, "labels", message))
}

/// A volume appears below the sandbox: a relative path of plain words.
fn check_path(path: &str) -> Result<(), Refusal> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && part.bytes().any(|b| b != b'.')
    };
    let taken = ["stdout", "stderr"].iter().any(|name| path.starts_with(name));
    if path.len() <= PATH_BYTES_MAX && path.split('/').all(plain) && !taken {
        return Ok(());
    }
    let message = format!("{:?} is not a path below the sandbox", excerpt(path));
    Err(Refusal::new(RefusalCode::InvalidArgument, "container_path", message)
        .hint("such as data or data/db: letters, digits, '_', '-', '.', and no name of a log"))
}

/// What an agent has for whoever asks, made of what it reports and of its holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// With every hold that is offered as what it gives, without those that are withheld.
    pub total: Resources,
    /// Holds that do not fit what it reports.
    pub unfit: Vec<HoldId>,
}

/// Whether a hold may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// It is there and may be used.
    Offered,
    /// Nobody gets it, nor what it takes.
    Withheld,
    /// The same, and what it takes is of holds that are withheld too.
    WithheldWithin,
}

impl Standing {
    /// Takes each hold off what it rests on, lowest level first, and adds what it gives. Holds of one
    /// level are interchangeable as far as they are alike, so that their order does not matter.
    #[must_use]
    pub fn of<'a>(reported: &Resources, holds: impl IntoIterator<Item = (&'a Hold, Use)>) -> Self {
        let mut holds: Vec<(&Hold, Use)> = holds.into_iter().collect();
        holds.sort_by_key(|(hold, _)| (hold.levels().len(), hold.id));
        let (mut total, mut unfit) = (reported.clone(), Vec::new());
        let (mut withheld, mut within) = (Vec::new(), Resources::new());
        for (hold, used) in holds {
            let held = hold.held();
            if total.convert(&hold.resources, &held).is_err() {
                unfit.push(hold.id);
                continue;
            }
            match used {
                Use::Offered => {}
                Use::Withheld => withheld.push(held),
                Use::WithheldWithin => {
                    withheld.push(held);
                    within = within.checked_add(&hold.resources).unwrap_or(within);
                }
            }
        }
        for held in withheld.iter().rev() {
            // What others take of it is taken with them, and not of what is like it.
            let rest = without(held, &within);
            within = without(&within, held);
            total = without(&total, &rest);
        }
        Self { total, unfit }
    }
}

/// Takes off what there is of it: a withheld reservation may have a level or a volume on it, which takes
/// its own part.
#[must_use]
pub fn without(total: &Resources, held: &Resources) -> Resources {
    let mut rest = Vec::new();
    for entry in total.entries() {
        let taken = held.entries().iter().find(|taken| taken.key == entry.key);
        let quantity = match taken {
            None => entry.quantity.clone(),
            Some(taken) => entry.quantity.without(&taken.quantity),
        };
        rest.push(Resource { key: entry.key.clone(), quantity });
    }
    Resources::from_entries(rest).unwrap_or_default()
}

/// What a task's or an offer's resources take from everybody else: a shared volume is never used up.
#[must_use]
pub fn exclusive(resources: &Resources) -> Resources {
    resources.filtered(|entry| !entry.key.shared)
}

/// The same in terms of what an agent says it has: what is lent is plain there.
///
/// # Errors
/// As [`Resources::checked_add`].
pub fn taken(resources: &Resources) -> Result<Resources, ResourceError> {
    let mut taken = exclusive(resources).filtered(|entry| !entry.key.lent);
    for entry in resources.entries().iter().filter(|entry| entry.key.lent) {
        let key = ResourceKey::plain(entry.key.name.clone());
        taken.insert(Resource { key, quantity: entry.quantity.clone() })?;
    }
    Ok(taken)
}

/// Every volume that is named must be taken whole, as it is in `total`.
///
/// # Errors
/// [`ResourceError::NotContained`] for one that is not there like that.
pub fn check_volumes(asked: &Resources, total: &Resources) -> Result<(), ResourceError> {
    for entry in asked.entries().iter().filter(|entry| entry.key.volume.is_some()) {
        let have = total.entries().iter().find(|have| have.key == entry.key);
        if have.map(|have| &have.quantity) == Some(&entry.quantity) {
            continue;
        }
        let show = |quantity: &Quantity| match quantity {
            Quantity::Scalar(value) => entry.key.name.display_scalar(*value),
            Quantity::Ranges(_) | Quantity::Set(_) => "something else".to_owned(),
        };
        return Err(ResourceError::NotContained {
            name: entry.key.volume.as_ref().map(|it| it.id.to_string()).unwrap_or_default(),
            want: show(&entry.quantity),
            have: have.map_or_else(|| "nothing".to_owned(), |have| show(&have.quantity)),
        });
    }
    Ok(())
}

/// How a hold stands, for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Wanted, and not confirmed by its agent: nobody gets it.
    Pending,
    /// There; offered to its role.
    Applied,
    /// Being removed; the data of a volume are being wiped.
    Removing,
    /// Its agent has it no more, or is gone: reported, and never made anew by itself.
    Lost,
    /// Its agent has it and the registry does not know it so: kept until an operator adopts it.
    Quarantined,
}

crate::words::words!(HoldState {
    Pending = "pending",
    Applied = "applied",
    Removing = "removing",
    Lost = "lost",
    Quarantined = "quarantined",
});

/// How far a hold is at its agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldStage {
    /// On the disk.
    Applied,
    /// Being wiped or forgotten.
    Removing,
    /// The disk says that there is a volume, and its directory is not there.
    Lost,
}

crate::words::words!(HoldStage { Applied = "applied", Removing = "removing", Lost = "lost" });

/// A hold as its agent has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentHold {
    /// It.
    pub hold: Hold,
    /// How far it is.
    pub stage: HoldStage,
}

/// What a framework is told of a hold that it made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HoldNews {
    /// Where.
    pub agent: AgentId,
    /// It.
    pub hold: Hold,
    /// How it stands; `None`: it is no more.
    pub state: Option<HoldState>,
    /// One sentence when something is to be known; else empty.
    pub message: String,
}

/// A reservation to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewReservation {
    /// What: as the agent has it, or without levels when `below` names them.
    pub resources: Resources,
    /// The reservation that it refines.
    pub below: Option<ReservationId>,
    /// For whom.
    pub role: RoleName,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What becomes of it when the framework that made it is removed.
    pub reclaim: ReclaimPolicy,
}

/// What is to be another of a hold that nobody uses; `None` stays.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HoldChange {
    /// For whom, of a reservation.
    pub role: Option<RoleName>,
    /// All labels, of a reservation.
    pub labels: Option<BTreeMap<String, String>>,
    /// To whom it belongs.
    pub owner: Option<PrincipalName>,
    /// What becomes of it when its framework is removed.
    pub reclaim: Option<ReclaimPolicy>,
}

/// A volume to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewVolume {
    /// The reservation whose disk it takes.
    pub on: ReservationId,
    /// How much.
    pub bytes: u64,
    /// Where it appears, below the sandbox.
    pub container_path: String,
    /// Several tasks may use it at a time.
    pub shared: bool,
    /// What becomes of it when the framework that made it is removed.
    pub reclaim: ReclaimPolicy,
}

/// What an operator wants of holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldCall {
    /// Keep resources for a role.
    Reserve {
        /// Where.
        agent: AgentId,
        /// What.
        new: NewReservation,
    },
    /// Make a volume on reserved disk.
    CreateVolume {
        /// What.
        new: NewVolume,
    },
    /// Change a hold that nobody uses, in one step.
    Update {
        /// Which.
        id: HoldId,
        /// How.
        change: HoldChange,
    },
    /// Make a volume larger.
    GrowVolume {
        /// Which.
        id: VolumeId,
        /// To how many bytes.
        bytes: u64,
    },
    /// Unreserve; wipe a volume. Of one that is lost: forget it.
    Remove {
        /// Which.
        id: HoldId,
    },
    /// Take a quarantined one as its agent has it.
    Adopt {
        /// Which, and where.
        key: HoldKey,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(id: u64, resources: &str, role: &str) -> Hold {
        Hold {
            id: HoldId::Reservation(ReservationId(id)),
            op: 1,
            resources: resources.parse().expect("legal"),
            kind: HoldKind::Reservation {
                role: role.parse().expect("legal"),
                labels: BTreeMap::new(),
            },
            owner: PrincipalName::new("ann").expect("legal"),
            framework: None,
            reclaim: ReclaimPolicy::Retain,
        }
    }

    fn refined(id: u64, below: &Hold, resources: &str, role: &str) -> Hold {
        let mut hold = reservation(id, resources, role);
        let level = below.held().entries()[0].key.reservations.clone();
        let entries = hold.resources.entries().iter().cloned().map(|mut entry| {
            entry.key.reservations = level.clone();
            entry
        });
        hold.resources = Resources::from_entries(entries.collect()).expect("apart");
        hold
    }

    fn volume(id: u64, on: &Hold, bytes: u64) -> Hold {
        let mut hold = refined(id, on, &format!("disk:{bytes}B"), "x");
        hold.id = HoldId::Volume(VolumeId(id));
        hold.kind = HoldKind::Volume { container_path: "data".to_owned(), shared: false };
        hold
    }

    fn all(holds: &[Hold]) -> impl Iterator<Item = (&Hold, Use)> {
        holds.iter().map(|hold| (hold, Use::Offered))
    }

    #[test]
    fn ids_read_back_and_sort_by_number() {
        for text in ["r1", "v7"] {
            assert_eq!(text.parse::<HoldId>().expect("legal").to_string(), text);
        }
        assert!("x1".parse::<HoldId>().is_err() && "v".parse::<HoldId>().is_err());
        let (v2, r10): (HoldId, HoldId) =
            ("v2".parse().expect("legal"), "r10".parse().expect("legal"));
        assert!(v2 < r10);
        let key: HoldKey = "a3/v2".parse().expect("legal");
        assert_eq!((key.agent, key.id), (AgentId(3), v2));
    }

    #[test]
    fn a_stack_is_taken_off_level_by_level_whatever_the_order() {
        let reported: Resources = "cpus:8;disk:100B".parse().expect("legal");
        let eng = reservation(9, "cpus:4;disk:50B", "eng");
        let db = refined(2, &eng, "cpus:1", "eng/db");
        let data = volume(1, &eng, 20);
        let holds = [db.clone(), data.clone(), eng.clone()];
        let standing = Standing::of(&reported, all(&holds));
        assert_eq!(standing.unfit, []);
        let expected = "cpus:4;disk:50B".parse::<Resources>().expect("legal");
        assert!(standing.total.contains(&expected));
        assert!(standing.total.contains(&db.held()) && standing.total.contains(&data.held()));
        assert_eq!(standing.total.scalar(&ResourceName::Cpus), 8000);
        assert_eq!(standing.total.scalar(&ResourceName::Disk), 100);
        let plain = standing.total.filtered(|entry| entry.key.is_plain());
        assert_eq!(plain.to_string(), "cpus:4;disk:50B");
    }

    #[test]
    fn what_is_withheld_is_in_nobodys_total_and_neither_is_what_it_takes() {
        let reported: Resources = "cpus:8;ports:[1-10]".parse().expect("legal");
        let eng = reservation(1, "cpus:4;ports:[3-5]", "eng");
        let db = refined(2, &eng, "cpus:1;ports:[4-4]", "eng/db");
        let withheld = [(&eng, Use::Withheld), (&db, Use::Offered)];
        let standing = Standing::of(&reported, withheld);
        let plain = standing.total.filtered(|entry| entry.key.is_plain());
        assert_eq!(plain.to_string(), "cpus:4;ports:[1-2,6-10]");
        assert_eq!(
            standing.total.checked_sub(&plain).expect("inside"),
            db.held(),
            "the level above is offered still, the rest of the lower one is not"
        );
        let both = Standing::of(&reported, [(&eng, Use::Withheld), (&db, Use::Withheld)]);
        assert_eq!(both.total, plain);
    }

    #[test]
    fn what_does_not_fit_is_named_and_left_out() {
        let reported: Resources = "cpus:3".parse().expect("legal");
        let (one, two) = (reservation(1, "cpus:2", "a"), reservation(2, "cpus:2", "b"));
        let holds = [one.clone(), two.clone()];
        let standing = Standing::of(&reported, all(&holds));
        assert_eq!(standing.unfit, [two.id]);
        assert_eq!(standing.total.checked_sub(&one.held()).expect("inside").to_string(), "cpus:1");
    }

    #[test]
    fn what_breaks_a_rule_is_refused_by_field() {
        let field = |hold: &Hold| hold.validate().expect_err("refused").field;
        let eng = reservation(1, "cpus:4;disk:50B", "eng");
        eng.validate().expect("legal");
        refined(2, &eng, "cpus:1", "eng/db").validate().expect("legal");
        volume(3, &eng, 5).validate().expect("legal");
        assert_eq!(field(&refined(2, &eng, "cpus:1", "eng")), "role", "not strictly below");
        assert_eq!(field(&refined(2, &eng, "cpus:1", "engine/db")), "role");
        assert_eq!(field(&reservation(1, "cpus:1", "*")), "role");
        assert_eq!(field(&reservation(1, "", "eng")), "resources");
        let mut mixed = eng.clone();
        mixed.resources = mixed.resources.checked_add(&eng.held()).expect("apart");
        assert_eq!(field(&mixed), "resources");
        for path in ["", "/data", "../x", "a//b", ".", "stdout", "a b", "a/.."] {
            let mut bad = volume(3, &eng, 5);
            bad.kind = HoldKind::Volume { container_path: path.to_owned(), shared: false };
            assert_eq!(field(&bad), "container_path", "{path}");
        }
        let mut unreserved = volume(3, &eng, 5);
        unreserved.resources = "disk:5B".parse().expect("legal");
        assert_eq!(field(&unreserved), "resources");
        let mut labelled = eng;
        labelled.kind = HoldKind::Reservation {
            role: "eng".parse().expect("legal"),
            labels: BTreeMap::from([("k".to_owned(), "v".repeat(LABELS_BYTES_MAX))]),
        };
        assert_eq!(field(&labelled), "labels");
    }

    #[test]
    fn a_volume_is_taken_whole() {
        let eng = reservation(1, "disk:50B", "eng");
        let data = volume(2, &eng, 20);
        let total =
            Standing::of(&"disk:50B".parse().expect("legal"), all(&[eng, data.clone()])).total;
        check_volumes(&data.held(), &total).expect("whole");
        let mut part = data.held().entries()[0].clone();
        part.quantity = Quantity::Scalar(5);
        let part = Resources::from_entries(vec![part]).expect("one");
        assert!(total.contains(&part) && check_volumes(&part, &total).is_err());
    }
}
