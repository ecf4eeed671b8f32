//! The store of the world: requests on their way to a member and answers on their way back, with what goes
//! wrong on it. A request without an answer may have been carried out, as with etcd's own clients.

use super::*;
use proffer_master::store::backoff::pause_after;

/// A request of a master to a member of the store.
pub struct Call {
    life: Life,
    member: usize,
    /// The master's clock when it was sent.
    sent_at: Duration,
    ask: Ask,
}

/// What a master asks its store.
pub(super) enum Ask {
    /// A transaction of the commit queue.
    Transact(Arc<Transaction>),
    /// What guards writes, for the commit queue.
    Guard,
    /// To be elected.
    Campaign,
    /// Who was elected, after a campaign without an answer, and when that was sent.
    Seat(Duration),
    /// The registry, part by part.
    Recovery(Box<super::terms::Recovery>),
    /// To keep a lease.
    KeepAlive(LeaderToken),
    /// A page of a framework's state.
    State(master::OperationId, FrameworkId, master::StateList),
}

/// What a member answers.
pub enum Answer {
    /// How a transaction ended.
    Transacted(TransactionResult),
    /// What guards writes.
    Guard(Guard),
    /// Who was elected, if it was the one that asks.
    Seat(Option<LeaderToken>),
    /// For how long the lease is kept, unless it is over.
    Kept(Option<Duration>),
    /// Records.
    Page(Result<Page, StoreError>),
}

impl World {
    /// Carries what the commit queue wants to the store.
    pub(super) fn pump_store(&mut self, node: usize) {
        /// As the shell repeats what was not answered.
        const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
        let life = Life { node, life: self.masters[node].life };
        let now_ms = self.queue.now_ms();
        let Some(leading) = self.masters[node].leading_mut() else { return };
        for completed in leading.queue.take_completed() {
            let result = match completed.outcome {
                CommitOutcome::Committed { .. } => WriteResult::Committed,
                CommitOutcome::LeadershipLost => {
                    WriteResult::Failed { reason: "deposed".to_owned() }
                }
                CommitOutcome::Unknown { reason } | CommitOutcome::Failed { reason } => {
                    WriteResult::Failed { reason }
                }
            };
            for operation in completed.operations {
                let operation = master::OperationId(operation.0);
                let command = Command::RegistryWritten { operation, result: result.clone() };
                leading.hear(now_ms, command);
            }
        }
        let repeats = leading.queue.repeats();
        let request = if leading.asking { None } else { leading.queue.next_request() };
        let waits = !leading.inbox.is_empty();
        leading.asking |= request.is_some();
        let pause = repeats.checked_sub(1).map(|before| pause_after(before, RETRY.0, RETRY.1));
        let pause = pause.map_or(0, |pause| u64::try_from(pause.as_millis()).unwrap_or(0));
        let delay = pause + heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        match request {
            Some(Request::Transact(transaction)) => self.ask_to_write(life, transaction, delay),
            Some(Request::ReadGuard) => self.ask_store(life, Ask::Guard, delay),
            None => {}
        }
        if waits {
            self.schedule_turn(node);
        }
    }

    /// A request on its way to the member that this master talks to.
    pub(super) fn ask_store(&mut self, life: Life, ask: Ask, delay: u64) {
        let (member, sent_at) = (self.masters[life.node].member, self.store_clock(life.node));
        self.queue.after(delay, Event::Asked(Call { life, member, sent_at, ask }));
    }

    /// The same, after a usual delay.
    pub(super) fn ask_store_soon(&mut self, life: Life, ask: Ask) {
        let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
        self.ask_store(life, ask, delay);
    }

    /// A transaction on its way to the store: mostly it arrives, sometimes twice (F12), sometimes long
    /// after its sender was told that nobody knows what became of it (F13).
    fn ask_to_write(&mut self, life: Life, transaction: Arc<Transaction>, delay: u64) {
        /// How long a request can be on its way, at most.
        const LATE_MS_MAX: u64 = 8_000;
        let twists = &mut self.chance.twists;
        if self.faulty && one_in(twists, self.plan.late_requests) {
            let late = between(twists, 1, LATE_MS_MAX);
            self.counts.fault("late_request");
            self.queue.after(late, Event::Copy(life, transaction));
            let reason = "no answer in time".to_owned();
            return self.transacted_after(delay, life, TransactionResult::Unknown { reason });
        }
        if self.faulty && one_in(twists, self.plan.doubled_requests) {
            // The copy may be the first of the two to arrive.
            let late = between(twists, 0, 2 * delay.max(20));
            self.counts.fault("doubled_request");
            self.queue.after(late, Event::Copy(life, Arc::clone(&transaction)));
        }
        self.ask_store(life, Ask::Transact(transaction), delay);
    }

    fn transacted_after(&mut self, delay: u64, life: Life, result: TransactionResult) {
        self.queue.after(delay, Event::Transacted(life, result));
    }

    /// A request reaches its member, or does not.
    pub(super) fn asked(&mut self, call: Call) {
        let (node, member) = (call.life.node, call.member);
        if !self.members.reaches(node, member) {
            // A dead member refuses at once, a cut link says nothing.
            let most = if self.members.is_up(member) { 3_000 } else { 50 };
            self.counts.fault("member_out_of_reach");
            return self.unanswered_after(most, call);
        }
        if !self.members.serves(member) {
            self.counts.fault("member_without_leader");
            return self.asked_without_leader(call);
        }
        self.store.expire(Duration::from_millis(self.queue.now_ms()));
        let member_life = self.members.life(member);
        let (delay, answer) = self.carry_out(&call);
        let is_lost = !matches!(answer, Answer::Transacted(_))
            && self.faulty
            && one_in(&mut self.chance.members, self.plan.lost_answers);
        if is_lost {
            self.counts.fault("lost_answer");
        }
        let answer = (!is_lost).then_some(answer);
        self.queue.after(delay, Event::Answered(call, member_life, answer));
    }

    /// A member that reaches no leader holds a request until its sender gives it up. A write may be carried
    /// out when there is a leader again.
    fn asked_without_leader(&mut self, call: Call) {
        if let Ask::Transact(transaction) = &call.ask {
            if self.strikes(Planted::MinorityCommit) {
                let revision = self.store.revision();
                let result = TransactionResult::Applied { revision };
                return self.transacted_after(1, call.life, result);
            }
            if one_in(&mut self.chance.members, 300) {
                let late = between(&mut self.chance.members, 1, 5_000);
                self.queue.after(late, Event::Copy(call.life, Arc::clone(transaction)));
            }
        }
        self.unanswered_after(3_000, call);
    }

    fn unanswered_after(&mut self, most_ms: u64, call: Call) {
        let delay = between(&mut self.chance.members, 1, most_ms);
        let member_life = self.members.life(call.member);
        self.queue.after(delay, Event::Answered(call, member_life, None));
    }

    /// What the log says to a request that reached it, and how long the answer takes.
    fn carry_out(&mut self, call: &Call) -> (u64, Answer) {
        if let Ask::Transact(transaction) = &call.ask {
            let delay = heavy_tail(&mut self.chance.store, self.plan.commit_ms);
            return (delay, Answer::Transacted(self.transact(call.life, transaction)));
        }
        let delay = heavy_tail(&mut self.chance.members, self.plan.commit_ms);
        let answer = match &call.ask {
            Ask::Transact(_) | Ask::Guard => Answer::Guard(self.store.guard()),
            Ask::Campaign => Answer::Seat(self.elect_master(call.life, call.sent_at)),
            // An earlier campaign of the same master had a lease of its own, as with etcd.
            Ask::Seat(stood_at) => {
                let stands = self.store.guard().leader;
                let own = self.elected.filter(|seated| {
                    seated.life == call.life
                        && seated.stood_at == *stood_at
                        && stands == Some(seated.token.create_revision)
                });
                Answer::Seat(own.map(|seated| seated.token))
            }
            Ask::Recovery(recovery) if recovery.guard.is_none() => {
                Answer::Guard(self.store.guard())
            }
            Ask::Recovery(recovery) => {
                let mut request = recovery.request.clone();
                if recovery.before.is_some() && self.strikes(Planted::StaleMember) {
                    request.at = recovery.before;
                }
                Answer::Page(self.store.range(&request))
            }
            Ask::KeepAlive(token) => {
                let now = Duration::from_millis(self.queue.now_ms());
                let kept = self.store.keep_alive(*token, now);
                if let Some(ttl) = kept {
                    self.leased(call.life, *token, ttl);
                }
                Answer::Kept(kept)
            }
            Ask::State(_, framework, list) => {
                Answer::Page(self.store.range(&state_request(*framework, list)))
            }
        };
        (delay, answer)
    }

    /// The answer reaches the master, unless its member died or was cut off meanwhile. One that gets no
    /// answer turns to the next member.
    pub(super) fn answered(&mut self, call: Call, member_life: u64, answer: Option<Answer>) {
        let (node, member) = (call.life.node, call.member);
        let same = self.members.life(member) == member_life && self.members.reaches(node, member);
        if answer.is_some() && !same {
            self.counts.fault("answer_lost_with_member");
        }
        let answer = answer.filter(|_| same);
        if answer.is_none() && self.masters[node].member == member {
            self.masters[node].member = (member + 1) % self.members.count();
        }
        if !self.master_at(call.life) {
            return;
        }
        let (life, sent_at) = (call.life, call.sent_at);
        match (call.ask, answer) {
            (Ask::Transact(_), Some(Answer::Transacted(result))) => self.transacted(life, result),
            (Ask::Transact(_), _) => {
                let reason = "no answer".to_owned();
                self.transacted(life, TransactionResult::Unknown { reason });
            }
            (Ask::Guard, Some(Answer::Guard(guard))) => self.guard_read(life, Some(guard)),
            (Ask::Guard, _) => self.guard_read(life, None),
            (Ask::Campaign, Some(Answer::Seat(seat))) => self.stood(life, sent_at, seat),
            // What became of it can be read: the key says whose it is.
            (Ask::Campaign, _) => self.ask_store_soon(life, Ask::Seat(sent_at)),
            (Ask::Seat(stood_at), Some(Answer::Seat(seat))) => {
                if seat.is_some() {
                    self.marks.reach("elected_without_answer");
                }
                self.stood(life, stood_at, seat);
            }
            (Ask::Seat(stood_at), _) => self.stood(life, stood_at, None),
            (Ask::Recovery(recovery), answer) => self.recovers(life, *recovery, answer),
            (Ask::KeepAlive(token), answer) => {
                let kept = match answer {
                    Some(Answer::Kept(kept)) => Some(kept),
                    _ => None,
                };
                self.kept_alive(life, token, sent_at, kept);
            }
            (Ask::State(operation, ..), Some(Answer::Page(Ok(page)))) => {
                self.state_read(life, operation, Ok(page));
            }
            (Ask::State(operation, ..), _) => self.state_read(life, operation, Err(())),
        }
    }

    /// A request of which nobody awaits the answer reaches the store.
    pub(super) fn copied(&mut self, life: Life, transaction: &Transaction) {
        if self.members.leader().is_none() {
            return;
        }
        let mut written = transaction.clone();
        if self.store.guard().mark != transaction.expected && self.strikes(Planted::DoubledCommit) {
            written.expected = self.store.guard().mark;
        }
        self.store.expire(Duration::from_millis(self.queue.now_ms()));
        self.apply_in_store(life, transaction, &written);
    }

    fn apply_in_store(
        &mut self,
        life: Life,
        transaction: &Transaction,
        written: &Transaction,
    ) -> TransactionResult {
        let result = self.store.transact(written);
        if let TransactionResult::Applied { .. } = &result {
            self.counts.commits += 1;
            self.see(&Seen::Committed {
                node: life.node,
                life: life.life,
                term: transaction.token.create_revision.0,
                mark: written.mark,
                changes: &transaction.changes,
            });
        }
        result
    }

    fn transact(&mut self, life: Life, transaction: &Transaction) -> TransactionResult {
        if self.faulty && one_in(&mut self.chance.store, self.plan.refused_commits) {
            self.counts.fault("refused_commit");
            return if self.strikes(Planted::UnwrittenCommit) {
                TransactionResult::Applied { revision: self.store.revision() }
            } else {
                TransactionResult::NotApplied { reason: "simulated".to_owned() }
            };
        }
        let mut written = transaction.clone();
        if let Some(planted) = self.planted {
            let guard = self.store.guard();
            let stands = self.elected.map(|seated| seated.token);
            planted.to_store(&mut self.planted_memory, &mut written, guard, stands);
        }
        let result = self.apply_in_store(life, transaction, &written);
        if self.faulty && one_in(&mut self.chance.store, self.plan.lost_answers) {
            self.counts.fault("lost_answer");
            return TransactionResult::Unknown { reason: "simulated".to_owned() };
        }
        result
    }

    pub(super) fn transacted(&mut self, life: Life, result: TransactionResult) {
        if self.master_at(life)
            && let Some(leading) = self.masters[life.node].leading_mut()
        {
            leading.asking = false;
            let own = Some(leading.token.create_revision);
            if matches!(&result, TransactionResult::Guarded(guard) if guard.leader != own) {
                self.marks.reach("deposed_leader_guarded");
            }
            leading.queue.transacted(result);
            self.pump_store(life.node);
        }
    }

    fn guard_read(&mut self, life: Life, guard: Option<Guard>) {
        if let Some(leading) = self.masters[life.node].leading_mut() {
            leading.asking = false;
            let before = leading.queue.unfinished_count();
            leading.queue.guard_read(guard);
            let is_written = leading.queue.unfinished_count() < before;
            self.marks.reach(match guard {
                None => "guard_unread",
                Some(_) if leading.queue.is_stopped() => "term_lost",
                Some(_) if is_written => "unknown_outcome_written",
                Some(_) => "unknown_outcome_unwritten",
            });
            self.pump_store(life.node);
        }
    }

    fn state_read(&mut self, life: Life, operation: master::OperationId, page: Result<Page, ()>) {
        let read = page.map(|page| {
            let mut entries = Vec::new();
            for entry in page.entries {
                let Ok(key) = RecordKey::decode(&entry.key) else { continue };
                let Ok(record) = Record::decode(&key, &entry.value) else { continue };
                if let (RecordKey::State(_, name), Record::State(value)) = (key, record) {
                    let (version, value) = (value.version, value.value);
                    entries.push(StateEntry { key: name, version, value });
                }
            }
            master::StatePage { entries, more: page.more }
        });
        let result =
            read.map_err(|()| Refusal::new(RefusalCode::Unavailable, "state", "no answer"));
        self.push(life.node, Some(Command::StateRead { operation, result }));
    }
}

fn state_request(framework: FrameworkId, list: &master::StateList) -> RangeRequest {
    RangeRequest {
        prefix: state_prefix(framework, &list.prefix).into_bytes(),
        after: list.after.as_ref().map(|key| state_prefix(framework, key).into_bytes()),
        limit: list.limit as usize,
        at: None,
    }
}
