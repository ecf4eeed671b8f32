//! Owns the published view: an immutable copy of every row that readers use without entering the
//! loop (K6). One thread builds it from the core's change list and publishes it; the same thread
//! keeps a second allocator, fed with the same deltas, that answers "why" while no turn waits.

mod history;
mod lag;

use arc_swap::ArcSwap;
pub(crate) use history::{Ended, History};
use imbl::{OrdMap, Vector};
use lag::Lag;
use proffer_allocator::{Allocator, Delta};
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::operator::{
    AgentRow, Change, DemandRow, EventRow, FrameworkRow, HoldRow, OfferRow, RoleRow, TaskRow,
};
use proffer_types::{
    AgentId, Cursor, DemandKey, FrameworkId, HoldKey, OfferId, Refusal, RefusalCode, RoleName,
    TaskKey,
};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Turns that may wait for the view thread. When full the loop waits: the lag of the view is bounded
/// by this, not by memory.
const TURNS_WAITING_MAX: usize = 256;
/// Questions that may wait; they are answered one by one, and only while no turn waits.
const QUESTIONS_WAITING_MAX: usize = 32;
/// Longest time from a turn to its being published while more turns arrive.
const PUBLISH_EVERY: Duration = Duration::from_millis(5);
/// Lines of the event log kept in the view.
const EVENTS_MAX: usize = 2_000;

/// Every row, at one point of the change list. Cloning shares everything.
#[derive(Clone, Default)]
pub struct View {
    /// The next change has this number: all before it are in.
    pub cursor: Cursor,
    /// By id.
    pub agents: OrdMap<AgentId, Arc<AgentRow>>,
    /// By id.
    pub frameworks: OrdMap<FrameworkId, Arc<FrameworkRow>>,
    /// By framework and group.
    pub demand: OrdMap<DemandKey, Arc<DemandRow>>,
    /// By framework and name.
    pub tasks: OrdMap<TaskKey, Arc<TaskRow>>,
    /// By id.
    pub offers: OrdMap<OfferId, Arc<OfferRow>>,
    /// By agent and id.
    pub holds: OrdMap<HoldKey, Arc<HoldRow>>,
    /// By path.
    pub roles: OrdMap<RoleName, Arc<RoleRow>>,
    /// Oldest first.
    pub events: Vector<Arc<EventRow>>,
    /// The latest changes; the last one has the number `cursor.change − 1`.
    pub(crate) history: History,
    /// Tasks that have ended.
    pub(crate) ended: Ended,
}

impl View {
    fn apply(&mut self, change: Change) {
        let change = Arc::new(change);
        match change.as_ref() {
            Change::Agent(row) => {
                self.agents.insert(row.id, Arc::new(row.clone()));
            }
            Change::AgentRemoved(id) => {
                self.agents.remove(id);
            }
            Change::Framework(row) => {
                self.frameworks.insert(row.id, Arc::new(row.clone()));
            }
            Change::FrameworkRemoved(id) => {
                self.frameworks.remove(id);
            }
            Change::Demand(row) => {
                let (framework, group) = (row.framework, row.group.name.clone());
                self.demand.insert(DemandKey { framework, group }, Arc::new(row.clone()));
            }
            Change::DemandRemoved(key) => {
                self.demand.remove(key);
            }
            Change::Task(row) => {
                self.tasks.insert(row.status.key(), Arc::new(row.clone()));
            }
            Change::TaskRemoved(key) => {
                if let Some(row) = self.tasks.remove(key) {
                    self.ended.push(row);
                }
            }
            Change::Offer(row) => {
                self.offers.insert(row.id, Arc::new(row.clone()));
            }
            Change::OfferRemoved(id) => {
                self.offers.remove(id);
            }
            Change::Role(row) => {
                self.roles.insert(row.name.clone(), Arc::new(row.clone()));
            }
            Change::Hold(row) => {
                self.holds.insert(row.key(), Arc::new(row.clone()));
            }
            Change::HoldRemoved(key) => {
                self.holds.remove(key);
            }
            Change::Event(row) => {
                self.events.push_back(Arc::new(row.clone()));
                if self.events.len() > EVENTS_MAX {
                    self.events.pop_front();
                }
            }
        }
        self.history.push(change);
        self.cursor.change += 1;
    }

    /// A task's row, or its last one when it has ended not long ago.
    #[must_use]
    pub fn task(&self, key: &TaskKey) -> Option<&Arc<TaskRow>> {
        self.tasks.get(key).or_else(|| self.ended.rows().get(key))
    }

    /// The changes from `cursor` on, at most `max`, and where they end; `None` when they are no
    /// longer, or not yet, known here.
    #[must_use]
    pub fn changes_since(&self, cursor: Cursor, max: usize) -> Option<(Vec<Arc<Change>>, Cursor)> {
        let same_life =
            cursor.incarnation == self.cursor.incarnation && cursor.epoch == self.cursor.epoch;
        let behind = self.cursor.change.checked_sub(cursor.change)?;
        let behind = usize::try_from(behind).ok()?;
        if !same_life || behind > self.history.len() {
            return None;
        }
        let changes = self.history.last(behind, max);
        let end = Cursor { change: cursor.change + changes.len() as u64, ..cursor };
        Some((changes, end))
    }

    /// All rows as changes: what a reader with an unknown cursor begins with.
    pub fn as_changes(&self) -> impl Iterator<Item = Change> + '_ {
        self.roles
            .values()
            .map(|row| Change::Role(row.as_ref().clone()))
            .chain(self.agents.values().map(|row| Change::Agent(row.as_ref().clone())))
            .chain(self.frameworks.values().map(|row| Change::Framework(row.as_ref().clone())))
            .chain(self.holds.values().map(|row| Change::Hold(row.as_ref().clone())))
            .chain(self.demand.values().map(|row| Change::Demand(row.as_ref().clone())))
            .chain(self.tasks.values().map(|row| Change::Task(row.as_ref().clone())))
            .chain(self.offers.values().map(|row| Change::Offer(row.as_ref().clone())))
            .chain(self.events.iter().map(|row| Change::Event(row.as_ref().clone())))
    }
}

/// The changes of one turn.
#[derive(Debug)]
pub struct TurnChanges {
    /// Number of the first one.
    pub first: Cursor,
    /// In order.
    pub changes: Vec<Change>,
    /// What the allocator was told.
    pub deltas: Vec<Delta>,
}

enum Request {
    Turn(TurnChanges),
    /// There is a question.
    Look,
}

struct Question {
    subject: Subject,
    answer: oneshot::Sender<Explanation>,
}

/// Reads the view and asks it things. Cheap to clone.
#[derive(Clone)]
pub struct ViewReader {
    published: Arc<ArcSwap<View>>,
    moved: watch::Receiver<Cursor>,
    requests: SyncSender<Request>,
    questions: SyncSender<Question>,
    lag: Arc<Lag>,
}

/// Feeds the view. The loop has the only one.
pub struct ViewWriter {
    requests: SyncSender<Request>,
    lag: Arc<Lag>,
}

/// Starts the view thread. It ends when the writer and all readers are dropped.
///
/// # Errors
/// When the machine gives no thread.
pub fn start() -> std::io::Result<(ViewWriter, ViewReader)> {
    let (thread, writer, reader) = assemble();
    std::thread::Builder::new().name("view".to_owned()).spawn(move || thread.run())?;
    Ok((writer, reader))
}

fn assemble() -> (ViewThread, ViewWriter, ViewReader) {
    let (requests, inbox) = sync_channel(TURNS_WAITING_MAX);
    let (questions, asked) = sync_channel(QUESTIONS_WAITING_MAX);
    let published = Arc::new(ArcSwap::from_pointee(View::default()));
    let (announce, moved) = watch::channel(Cursor::default());
    let thread = ViewThread {
        view: View::default(),
        allocator: Allocator::new(),
        published: Arc::clone(&published),
        announce,
        inbox,
        asked,
        taken: 0,
        lag: Arc::default(),
    };
    let lag = Arc::clone(&thread.lag);
    let writer = ViewWriter { requests: requests.clone(), lag: Arc::clone(&lag) };
    (thread, writer, ViewReader { published, moved, requests, questions, lag })
}

impl ViewWriter {
    /// Hands over the changes of a turn; waits while the view thread is far behind.
    pub fn publish(&self, turn: TurnChanges) {
        // The thread outlives the writer; should it have panicked, readers see an old view and the lag
        // grows, which is exported.
        self.lag.handed_over();
        let _ = self.requests.send(Request::Turn(turn));
    }
}

impl ViewReader {
    /// The view as it is published now.
    #[must_use]
    pub fn load(&self) -> Arc<View> {
        self.published.load_full()
    }

    /// The view once it holds everything before `cursor` (K6).
    ///
    /// # Errors
    /// `unavailable` when it does not get there in time.
    pub async fn at_least(&self, cursor: Cursor) -> Result<Arc<View>, Refusal> {
        self.once(|at| *at >= cursor).await.ok_or_else(|| {
            let message = format!("the view did not reach {cursor} within 5s");
            Refusal::new(RefusalCode::Unavailable, "at_least", message)
        })
    }

    /// The view once a term has published: what is there before that is nobody's.
    ///
    /// # Errors
    /// `unavailable` when that does not happen in time.
    pub(crate) async fn published(&self) -> Result<Arc<View>, Refusal> {
        self.once(|at| *at != Cursor::default()).await.ok_or_else(|| {
            let message = "this master was elected and has not begun its term yet";
            Refusal::new(RefusalCode::Unavailable, "", message).hint("try again")
        })
    }

    async fn once(&self, reached: impl FnMut(&Cursor) -> bool) -> Option<Arc<View>> {
        const WAIT_MAX: Duration = Duration::from_secs(5);
        let mut moved = self.moved.clone();
        let waited = tokio::time::timeout(WAIT_MAX, moved.wait_for(reached)).await;
        matches!(waited, Ok(Ok(_))).then(|| self.load())
    }

    /// Turns that are decided and not published yet, and the age of the oldest (K6).
    #[must_use]
    pub fn lag(&self) -> (usize, Duration) {
        self.lag.now()
    }

    /// Tells each time the view has moved on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Cursor> {
        self.moved.clone()
    }

    /// Why something waits, as of the published view.
    ///
    /// # Errors
    /// `unavailable` when too many ask.
    pub async fn explain(&self, subject: Subject) -> Result<Explanation, Refusal> {
        let busy = || {
            Refusal::new(RefusalCode::Unavailable, "why", "too much is being asked right now")
                .hint("ask again")
        };
        let (answer, wait) = oneshot::channel();
        self.questions.try_send(Question { subject, answer }).map_err(|_| busy())?;
        // When it does not fit, turns wait, and the thread looks for questions after them anyway.
        let _ = self.requests.try_send(Request::Look);
        wait.await.map_err(|_| busy())
    }
}

struct ViewThread {
    view: View,
    allocator: Allocator,
    published: Arc<ArcSwap<View>>,
    announce: watch::Sender<Cursor>,
    inbox: Receiver<Request>,
    asked: Receiver<Question>,
    /// Turns taken in since the last publication.
    taken: usize,
    lag: Arc<Lag>,
}

impl ViewThread {
    fn run(mut self) {
        let mut next = self.inbox.recv().ok();
        while let Some(request) = next {
            if let Request::Turn(turn) = request {
                self.take_turns(turn);
                self.published.store(Arc::new(self.view.clone()));
                self.lag.published(std::mem::take(&mut self.taken));
                self.announce.send_replace(self.view.cursor);
            }
            next = self.answer_until_a_turn_comes().or_else(|| self.inbox.recv().ok());
        }
    }

    /// Takes what is there, but lets nobody wait longer than the period for what came first.
    fn take_turns(&mut self, first: TurnChanges) {
        let publish_at = Instant::now() + PUBLISH_EVERY;
        self.apply(first);
        loop {
            let left = publish_at.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left.min(Duration::from_millis(1))) {
                Ok(Request::Turn(turn)) => self.apply(turn),
                Ok(Request::Look) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Answers questions while no turn waits; gives the one that does.
    fn answer_until_a_turn_comes(&self) -> Option<Request> {
        loop {
            match self.inbox.try_recv() {
                Ok(turn @ Request::Turn(_)) => return Some(turn),
                Ok(Request::Look) => continue,
                Err(_) => {}
            }
            let Question { subject, answer } = self.asked.try_recv().ok()?;
            // Whoever asked may have gone.
            let _ = answer.send(self.explain(&subject));
        }
    }

    fn apply(&mut self, turn: TurnChanges) {
        self.taken += 1;
        let same_life = turn.first.epoch == self.view.cursor.epoch
            && turn.first.incarnation == self.view.cursor.incarnation;
        if !same_life || turn.first.change != self.view.cursor.change {
            // A new epoch numbers from anew: nothing before it can be resumed from.
            self.view.history.clear();
            self.view.cursor = turn.first;
        }
        for change in turn.changes {
            self.view.apply(change);
        }
        for delta in &turn.deltas {
            if let Err(error) = self.allocator.on_change(delta) {
                // The core's own instance took it: the copy has drifted. Answers may be wrong from
                // here on, nothing else is.
                tracing::error!(%error, ?delta, "the copy that explains has drifted");
            }
        }
        self.allocator.rest(crate::term::now().monotonic);
    }

    fn explain(&self, subject: &Subject) -> Explanation {
        let Subject::Task(key) = subject else {
            let now = crate::term::now();
            let mut answer = self.allocator.explain(subject, now.monotonic);
            if let Subject::Demand(framework, group) = subject {
                let agents = self.view.agents.values().map(AsRef::as_ref);
                let claims =
                    proffer_master_core::explain_claims(agents, *framework, group, now.wall);
                answer.hints.splice(..0, claims);
            }
            // Why an agent is out the allocator does not know.
            if !matches!(subject, Subject::Agent(_)) && !answer.funnel.is_empty() {
                let agents = self.view.agents.values().map(AsRef::as_ref);
                answer.hints.extend(proffer_master_core::explain_agents_out(agents));
            }
            return answer;
        };
        if let Some(task) = self.view.tasks.get(key) {
            let agent = self.view.agents.get(&task.status.agent);
            let now = crate::term::now().wall;
            // Only who waits for a gang has to be looked for among all.
            let tasks = task.gang.map(|_| self.view.tasks.values()).into_iter().flatten();
            let others = tasks.filter(|it| it.gang == task.gang).map(AsRef::as_ref);
            return proffer_master_core::explain_task(task, agent.map(AsRef::as_ref), others, now);
        }
        match self.view.ended.rows().get(key) {
            Some(task) => proffer_master_core::explain_ended_task(task),
            None => Explanation {
                subject: subject.clone(),
                summary: format!("no task {key} is known"),
                funnel: Vec::new(),
                nearest_miss: String::new(),
                hints: vec!["list the tasks with: proffer tasks".to_owned()],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::MasterEpoch;

    fn event(message: &str) -> Change {
        Change::Event(EventRow {
            at: proffer_types::WallTime(1),
            kind: "test".to_owned(),
            subject: "s".to_owned(),
            message: message.to_owned(),
        })
    }

    /// I17: what is listed and explained of a task that has ended is its end.
    #[tokio::test]
    async fn i17_a_task_that_is_known_no_more_is_told_by_its_last_row() {
        use proffer_types::{TaskState, TaskStatus, TemplateDigest};
        let status = |name: &str, state| TaskStatus {
            id: None,
            framework: FrameworkId(1),
            task: name.parse().expect("legal"),
            token: proffer_types::LaunchToken::default(),
            agent: AgentId(2),
            state,
            reason: proffer_types::task::StatusReason::AgentGone,
            message: String::new(),
            exit: None,
            ready: None,
            at: proffer_types::WallTime(1),
            isolation: proffer_types::task::IsolationLevel::Full,
        };
        let row = |name: &str, state| {
            Change::Task(TaskRow {
                status: status(name, state),
                template: TemplateDigest([0; 32]),
                resources: proffer_types::Resources::new(),
                role: RoleName::new("eng").expect("legal"),
                variables: std::collections::BTreeMap::new(),
                labels: std::collections::BTreeMap::new(),
                group: None,
                agent_name: "two".parse().expect("legal"),
                address: String::new(),
                priority: 0,
                budget: None,
                gang: None,
            })
        };
        let key =
            |name: &str| TaskKey { framework: FrameworkId(1), name: name.parse().expect("legal") };
        let changes = vec![
            row("a", TaskState::Unreachable),
            row("b", TaskState::Unreachable),
            row("a", TaskState::Gone),
            Change::TaskRemoved(key("a")),
            Change::TaskRemoved(key("b")),
        ];
        let (writer, reader) = start().expect("threads are to be had");
        writer.publish(TurnChanges { changes, ..turn(3, 0, &[]) });
        let end = Cursor { change: 5, ..turn(3, 0, &[]).first };
        let view = reader.at_least(end).await.expect("published");
        let ended = view.ended.rows().get(&key("a")).expect("kept");
        assert_eq!((ended.status.state, view.tasks.len()), (TaskState::Gone, 0));
        let why = reader.explain(Subject::Task(key("a"))).await.expect("answered");
        assert_eq!(why.summary, "a was given up with a2 (two): agent gone");
        let why = reader.explain(Subject::Task(key("b"))).await.expect("answered");
        assert!(why.summary.starts_with("b was given up: when it was last"), "{}", why.summary);
        assert_eq!(why.hints, Vec::<String>::new(), "nobody is asked to give it up again");
    }

    fn turn(epoch: u64, change: u64, messages: &[&str]) -> TurnChanges {
        TurnChanges {
            first: Cursor {
                incarnation: proffer_types::Incarnation(1),
                epoch: MasterEpoch(epoch),
                change,
            },
            changes: messages.iter().map(|message| event(message)).collect(),
            deltas: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_reader_resumes_after_what_it_has_seen_and_an_unknown_cursor_is_none() {
        let (writer, reader) = start().expect("threads are to be had");
        writer.publish(turn(3, 0, &["a", "b", "c"]));
        let end = Cursor { change: 3, ..turn(3, 0, &[]).first };
        let view = reader.at_least(end).await.expect("published");
        assert_eq!(view.events.len(), 3);
        let (changes, at) = view.changes_since(Cursor { change: 1, ..end }, 10).expect("known");
        assert_eq!((changes.len(), at), (2, end));
        assert_eq!(view.changes_since(end, 10).expect("known").0.len(), 0);
        assert!(view.changes_since(Cursor { change: 4, ..end }, 10).is_none(), "from the future");
        assert!(view.changes_since(Cursor { epoch: MasterEpoch(2), ..end }, 10).is_none());

        writer.publish(turn(4, 0, &["d"]));
        let view = reader
            .at_least(Cursor { epoch: MasterEpoch(4), change: 1, ..end })
            .await
            .expect("published");
        assert!(view.changes_since(end, 10).is_none(), "an older epoch is not known any more");
    }

    #[tokio::test]
    async fn k6_questions_wait_for_turns_and_too_many_are_refused_at_once() {
        let (thread, writer, reader) = assemble();
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..QUESTIONS_WAITING_MAX * 10 {
            let reader = reader.clone();
            answers.spawn(async move {
                let answer = reader.explain(Subject::Agent(AgentId(1))).await;
                (answer, reader.load().cursor)
            });
        }
        let refused = QUESTIONS_WAITING_MAX * 9;
        for _ in 0..refused {
            let (answer, _) = answers.join_next().await.expect("asked").expect("no panic");
            let refusal = answer.expect_err("nobody answers yet");
            assert_eq!((refusal.code, refusal.field.as_str()), (RefusalCode::Unavailable, "why"));
        }
        // A turn has room beside them, and goes first.
        assert_eq!(reader.lag(), (0, Duration::ZERO));
        writer.publish(turn(3, 0, &["a"]));
        assert!(matches!(reader.lag(), (1, age) if age > Duration::ZERO));
        let end = Cursor { change: 1, ..turn(3, 0, &[]).first };
        let running = std::thread::spawn(move || thread.run());
        while let Some(answer) = answers.join_next().await {
            let (answer, seen) = answer.expect("no panic");
            answer.expect("it is answered");
            assert_eq!(seen, end);
        }
        assert_eq!(reader.lag().0, 0, "what was asked of is published");
        drop((writer, reader));
        running.join().expect("it ends with its readers");
    }
}
