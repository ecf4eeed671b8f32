//! Every bound of the master, each with its reason (I15). What an operator may want to change is in
//! [`crate::Config`]; these are not for changing.

/// Events that a framework's stream may hold unread in the shell. Large enough that a stream is never
/// idle for want of credits over a slow link, small enough that a silent reader costs little.
pub const FRAMEWORK_WINDOW: u32 = 1024;

/// Events in one frame to a framework: about 64 KiB of statuses.
pub const FRAME_EVENTS_MAX: usize = 256;

/// Weight ([`proffer_types::Weight`]) from which on a frame is closed. Readers take 4 MiB and 200,000
/// parts; the heaviest single item is an offer of an agent whose description is as large as it may be.
pub const FRAME_WEIGHT_MAX: usize = 1 << 20;

/// Weight of one event or order that is a list: snapshot pages, offers, launches.
pub const LIST_WEIGHT_MAX: usize = 256 << 10;

/// Events other than statuses that may wait for a framework that reads nothing; beyond it the stream
/// is cut (K15). Statuses wait as keys and need no bound of their own.
pub const OUTBOX_EVENTS_MAX: usize = 4096;

/// Waiting events from which on a framework gets no new offers (K15).
pub const OUTBOX_OFFERS_STOP: usize = 512;

/// Groups of a demand in one event that says that their time is over.
pub const EXPIRED_PER_EVENT_MAX: usize = 256;

/// Tasks in one page of a snapshot.
pub const SNAPSHOT_PAGE_TASKS: usize = 64;

/// Absent agents in one page of a snapshot: some 150 KiB.
pub const SNAPSHOT_PAGE_ABSENT: usize = 2048;

/// Offers in one accept, decline or renewal.
pub const CALL_OFFERS_MAX: usize = 1024;

/// Tasks launched by one accept.
pub const ACCEPT_TASKS_MAX: usize = 4096;

/// Bytes of the variables and labels of one launch, which the master keeps per task (K16).
pub const LAUNCH_TEXT_BYTES_MAX: usize = 16 << 10;

/// Templates that are kept for a stream; a service has a few per revision.
pub const TEMPLATES_MAX: usize = 4096;

/// Bytes of one template in its JSON form: what an agent accepts.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// Bytes of all templates that are kept for a stream.
pub const TEMPLATES_BYTES_MAX: usize = 16 << 20;

/// Templates that the master remembers to have sent an agent; beyond it, it forgets all of them and
/// sends again. At most what an agent keeps for a connection, so that it has what is not sent again.
pub const TEMPLATES_SENT_MAX: usize = 1024;

/// Roles of one framework.
pub const FRAMEWORK_ROLES_MAX: usize = 64;

/// Bytes of a framework's labels: they are in its registry record.
pub const FRAMEWORK_TEXT_BYTES_MAX: usize = 16 << 10;

/// Frameworks that exist at a time.
pub const FRAMEWORKS_MAX: usize = 10_000;

/// Replicas of one framework that stand by.
pub const STANDBYS_MAX: usize = 16;

/// Agents that exist at a time.
pub const AGENTS_MAX: usize = 100_000;

/// Tasks that one agent may list. The kernel's own bound on processes lies below.
pub const AGENT_TASKS_MAX: usize = 100_000;

/// Registrations that one connection may have begun and not ended (farms, K16).
pub const ASSEMBLIES_MAX: usize = 4096;

/// Bytes of the message of a status; what an agent writes beyond it is cut off.
pub const STATUS_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Maintenance windows that are planned at a time.
pub const WINDOWS_MAX: usize = 1_000;

/// Entries of a map that others fill: labels, variables, attributes.
pub const TEXT_ENTRIES_MAX: usize = 1024;

/// Bytes of a word that others choose: a host's name, an address, a URL, a version.
pub const FIELD_BYTES_MAX: usize = 1024;

/// Weight of the resources of one task: some 1,600 ranges of ports. Its row and an event with it stay
/// below [`LIST_WEIGHT_MAX`].
pub const TASK_RESOURCES_WEIGHT_MAX: usize = 64 << 10;

/// Pairs of a framework and a role that may have tasks on one agent. A registry that was restored from a
/// copy may have others than the agent lists: twice as many fit its record (K2).
pub const AGENT_PAIRS_MAX: usize = 1024;

/// Bytes of what an agent has and is: it is in its registry record.
pub const AGENT_INFO_BYTES_MAX: usize = 256 << 10;

/// Reservations and volumes in all: their records are read by every new leader.
pub const HOLDS_MAX: usize = 100_000;

/// Reservations and volumes that one accept makes, changes or removes: one transaction of etcd holds them,
/// and the mark of their numbers.
pub const ACCEPT_HOLDS_MAX: usize = 64;

/// Kinds of resources that an agent may have by its reservations and volumes: an offer may hold one of each,
/// and readers take 256.
pub const AGENT_KINDS_MAX: usize = 192;

/// Weight of them: they are in every offer of all that an agent has.
pub const AGENT_TOTAL_WEIGHT_MAX: usize = 128 << 10;

/// Roles that have a record.
pub const ROLES_MAX: usize = 10_000;

/// Commits and reads of one framework's state store that may be under way.
pub const STATE_OPERATIONS_MAX: usize = 64;

/// Entries in one page of a state store; fewer when they are heavier than a list may be.
pub const STATE_PAGE_ENTRIES_MAX: u32 = 64;

/// Keys removed by one write when a framework ends; with the head below etcd's 127 operations.
pub const STATE_SWEEP_KEYS: usize = 100;

/// Ended frameworks whose keys are being deleted at a time.
pub const SWEEPS_MAX: usize = 16;

/// Bytes of one framework's commits on their way to the store; further ones are refused until some of
/// them are durable. Some seconds of what a store takes.
pub const STATE_WRITES_FRAMEWORK_BYTES_MAX: usize = 4 << 20;

/// The same of all frameworks together. With the deletions of ended frameworks it stays below what the
/// queue to the store keeps for framework state (K9).
pub const STATE_WRITES_BYTES_MAX: usize = 12 << 20;

/// Registry writes on their way to the store from which on whoever wants one more is refused until some
/// are durable; the queue to the store holds more.
pub const REGISTRY_WRITES_MAX: usize = 50_000;

/// Their bytes.
pub const REGISTRY_WRITES_BYTES_MAX: usize = 32 << 20;

/// Registry writes on their way that nobody asked for: agents and frameworks that fell silent, occupancy
/// that ended; further ones wait. Two transactions of etcd, so that the loss of half a cluster
/// neither fills the queue nor delays what somebody waits for.
pub const SPARE_WRITES_MAX: usize = 256;

/// Their bytes.
pub const SPARE_WRITES_BYTES_MAX: usize = 8 << 20;

/// Effects that may be held while the leader is suspended. The shell takes nothing from outside as soon
/// as it is; beyond this the master ends and recovers (K8).
pub const HELD_EFFECTS_MAX: usize = 200_000;

/// Longest time for which an offer can be renewed, in terms of its time to live: a lease is for
/// deciding, not for keeping.
pub const OFFER_TERMS_MAX: u64 = 10;

/// Longest wish not to be offered the same again.
pub const REFUSE_FOR_MAX_MS: u64 = 365 * 24 * 3_600_000;

/// An inbox older than this means that silence proves nothing (K15).
pub const INBOX_LAG_MAX_MS: u64 = 1000;

/// Agents that are looked at for victims at a time (K7).
pub const SEARCH_AGENTS_MAX: usize = 500;

/// Launches over several agents that are under way at a time: their records are read by every new leader.
pub const GANGS_MAX: usize = 10_000;

/// Claims at a time.
pub const CLAIMS_MAX: usize = 100;
