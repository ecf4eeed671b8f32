//! Owns every write of the embedded store: guard, revision, the redb transaction, the change log.

use std::sync::Arc;
use std::time::Duration;

use super::super::StoreError;
use super::super::clock::since_boot;
use super::super::model::{
    Change, CommitMark, Guard, LeaderRecord, LeaderToken, Revision, Transaction, TransactionResult,
    Value,
};
use super::super::seat::Seat;
use super::Shared;
use super::tables::{
    Found, MARK_MODIFIED_KEY, NUMBERS, RECORDS, REVISION_KEY, SEQUENCE_KEY, WRITER_KEY, begin_write,
};

pub(super) struct Writer {
    shared: Arc<Shared>,
    revision: Revision,
    mark: CommitMark,
    mark_modified: Revision,
    /// Not on disk: whoever holds the directory's lock decides who sits, and a term's number is a
    /// revision, which is.
    seat: Seat,
    /// A commit failed. What is on disk is unknown until the store is opened again.
    broken: Option<String>,
}

pub(super) enum Tried {
    Seated(LeaderToken),
    HeldUntil(Duration),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, found: Found) -> Self {
        Self {
            shared,
            revision: found.revision,
            mark: found.mark,
            mark_modified: found.mark_modified,
            seat: Seat::default(),
            broken: None,
        }
    }

    pub(super) fn guard(&self) -> Guard {
        Guard {
            leader: self.seat.create_revision(),
            mark: self.mark,
            mark_modified: self.mark_modified,
        }
    }

    pub(super) fn leader(&self) -> Option<LeaderRecord> {
        self.seat.leader()
    }

    pub(super) fn transact(&mut self, transaction: &Transaction) -> TransactionResult {
        if let Some(reason) = &self.broken {
            return TransactionResult::Broken { reason: reason.clone() };
        }
        if !self.seat.is_held_by(transaction.token) || self.mark != transaction.expected {
            return TransactionResult::Guarded(self.guard());
        }
        let revision = self.revision.next();
        match self.write(revision, Some(transaction)) {
            Ok(changes) => {
                self.revision = revision;
                self.mark = transaction.mark;
                self.mark_modified = revision;
                self.shared.log().push(revision, changes);
                self.shared.newest.send_replace(revision);
                self.shared.snapshots().forget_idle(since_boot());
                TransactionResult::Applied { revision }
            }
            Err(error) => TransactionResult::Broken { reason: self.broke(&error) },
        }
    }

    fn broke(&mut self, error: &redb::Error) -> String {
        let path = self.shared.directory.database_path();
        let reason = format!("write {}: {error}", path.display());
        self.broken = Some(reason.clone());
        reason
    }

    /// One redb transaction, one sync. Returns what changed.
    fn write(
        &self,
        revision: Revision,
        transaction: Option<&Transaction>,
    ) -> Result<Vec<Change>, redb::Error> {
        let writer = begin_write(&self.shared.database)?;
        let mut told = Vec::new();
        {
            let mut numbers = writer.open_table(NUMBERS)?;
            numbers.insert(REVISION_KEY, revision.0)?;
            if let Some(transaction) = transaction {
                numbers.insert(SEQUENCE_KEY, transaction.mark.sequence)?;
                numbers.insert(WRITER_KEY, transaction.mark.writer.0)?;
                numbers.insert(MARK_MODIFIED_KEY, revision.0)?;
                let mut records = writer.open_table(RECORDS)?;
                for (key, value) in &transaction.changes {
                    let changed = match value {
                        Some(value) => {
                            records.insert(key.as_slice(), (revision.0, value.as_slice()))?;
                            true
                        }
                        None => records.remove(key.as_slice())?.is_some(),
                    };
                    if changed {
                        told.push(Change { key: key.clone(), value: value.clone() });
                    }
                }
            }
        }
        writer.commit()?;
        Ok(told)
    }

    /// Seats a candidate if nobody leads. The term's number is made durable first, so that no two
    /// terms ever share one.
    pub(super) fn campaign(
        &mut self,
        candidate: Value,
        ttl: Duration,
        now: Duration,
    ) -> Result<Tried, StoreError> {
        self.seat.expire(now);
        if let Some(until) = self.seat.until() {
            return Ok(Tried::HeldUntil(until));
        }
        if let Some(reason) = &self.broken {
            return Err(StoreError::Refused { reason: reason.clone() });
        }
        let revision = self.revision.next();
        if let Err(error) = self.write(revision, None) {
            return Err(StoreError::Refused { reason: self.broke(&error) });
        }
        self.revision = revision;
        self.shared.log().push(revision, Vec::new());
        self.shared.newest.send_replace(revision);
        let token = LeaderToken { create_revision: revision, lease: revision.0 };
        self.seat.take(token, candidate, ttl, now);
        Ok(Tried::Seated(token))
    }

    pub(super) fn keep_alive(
        &mut self,
        token: LeaderToken,
        now: Duration,
    ) -> Result<Duration, StoreError> {
        let create_revision = token.create_revision;
        self.seat.keep_alive(token, now).ok_or(StoreError::LeadershipEnded { create_revision })
    }

    pub(super) fn resign(&mut self, token: LeaderToken) {
        self.seat.resign(token);
    }
}
