//! Owns the store of several masters: keys in etcd below one prefix, guarded by a campaign key.
//!
//! ```text
//! <prefix>format       the layout's version
//! <prefix>leader       the campaign key: candidate, on the leader's lease; its create revision is the term
//! <prefix>commit       "<sequence> <writer>": the commit mark, written by every transaction
//! <prefix>records/...  what the master keeps
//! ```
//!
//! The campaign is a transaction on one key and not etcd's election service: that one waits inside a
//! call, so a lost connection leaves a candidate in the queue that nobody stands behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, GetResponse, KeyValue,
    PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::clock::since_boot;
use super::model::{
    Campaign, CommitMark, Entry, Guard, Key, LeaderRecord, LeaderToken, Limits, Page, RangeRequest,
    Revision, Transaction, TransactionResult, Usage, Value, prefix_end,
};
use super::{Answer, ChangeStream, Store, StoreError};

mod changes;
mod failure;

use failure::{failed, is_compacted, is_too_large_to_decode, transaction_failed};

/// The layout of the keys. Raise it when an older program would misread them (K5).
const FORMAT: u32 = 1;

/// A page of a thousand values of 64 KiB still fits; tonic's own limit is 4 MiB.
const DECODED_BYTES_MAX: usize = 64 << 20;

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// etcd's own default; it does not tell before version 3.6.
const QUOTA_BYTES: u64 = 2 << 30;

/// Where etcd is and how to speak to it.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `http://` or `https://` addresses.
    pub endpoints: Vec<String>,
    /// Starts every key of this cluster; ends with `/`.
    pub prefix: String,
    /// For `https`.
    pub tls: Option<EtcdTls>,
    /// Name and password, if etcd asks for them.
    pub user: Option<(String, String)>,
    /// What etcd runs with, where it differs from its default.
    pub quota_bytes: Option<u64>,
}

/// PEM text for a mutually verified connection.
#[derive(Clone)]
pub struct EtcdTls {
    /// Whom to trust.
    pub ca_pem: String,
    /// Who we are: certificate and key.
    pub identity_pem: Option<(String, String)>,
}

impl std::fmt::Debug for EtcdTls {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdTls").finish_non_exhaustive()
    }
}

/// See the module's description. Clones share their connections.
#[derive(Clone)]
pub struct EtcdStore {
    /// For calls: every one ends within [`CALL_TIMEOUT`].
    calls: Client,
    /// For streams, which have no end.
    streams: Client,
    keys: Arc<Keys>,
    quota_bytes: u64,
    /// What was granted to the leases of this process; etcd's renewals do not carry it through the
    /// client library.
    granted: Arc<Mutex<BTreeMap<u64, Duration>>>,
}

struct Keys {
    format: Key,
    leader: Key,
    commit: Key,
    records: Key,
}

impl EtcdStore {
    /// Connects and checks the format, or writes it if the prefix is empty.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] if a newer program wrote there; [`StoreError::Unavailable`] if
    /// etcd does not answer.
    pub async fn connect(config: &EtcdConfig) -> Result<Self, StoreError> {
        let options = options(config);
        let calls =
            Client::connect(&config.endpoints, Some(options.clone().with_timeout(CALL_TIMEOUT)));
        let calls = calls.await.map_err(failed)?;
        let streams = Client::connect(&config.endpoints, Some(options)).await.map_err(failed)?;
        let key = |name: &str| format!("{}{name}", config.prefix).into_bytes();
        let keys = Keys {
            format: key("format"),
            leader: key("leader"),
            commit: key("commit"),
            records: key("records/"),
        };
        let store = Self {
            calls,
            streams,
            keys: Arc::new(keys),
            quota_bytes: config.quota_bytes.unwrap_or(QUOTA_BYTES),
            granted: Arc::default(),
        };
        store.check_format(&config.prefix).await?;
        Ok(store)
    }

    async fn check_format(&self, prefix: &str) -> Result<(), StoreError> {
        let absent = Compare::create_revision(self.keys.format.clone(), CompareOp::Equal, 0);
        let write = TxnOp::put(self.keys.format.clone(), FORMAT.to_string(), None);
        let read = TxnOp::get(self.keys.format.clone(), None);
        let txn = Txn::new().when([absent]).and_then([write]).or_else([read]);
        let answer = self.calls.kv_client().txn(txn).await.map_err(failed)?;
        let Some(TxnOpResponse::Get(found)) = answer.op_responses().into_iter().next() else {
            return Ok(());
        };
        let place = format!("etcd {prefix}format");
        let text = found.kvs().first().map_or(&b""[..], KeyValue::value);
        let format = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u32>().ok());
        match format {
            Some(found) if found > FORMAT => {
                Err(StoreError::NewerFormat { place, found, supported: FORMAT })
            }
            Some(_) => Ok(()),
            None => Err(StoreError::Damaged { place, reason: "not a number".to_owned() }),
        }
    }

    fn kv(&self) -> etcd_client::KvClient {
        self.calls.kv_client().max_decoding_message_size(DECODED_BYTES_MAX)
    }

    fn record_key(&self, key: &[u8]) -> Key {
        [&self.keys.records, key].concat()
    }

    fn entry(&self, kv: KeyValue) -> Entry {
        let modified = revision(kv.mod_revision());
        let (mut key, value) = kv.into_key_value();
        key.drain(..self.keys.records.len().min(key.len()));
        Entry { key, value, modified }
    }

    async fn read(&self, key: Key) -> Result<Option<Entry>, StoreError> {
        let mut answer = self.kv().get(self.record_key(&key), None).await.map_err(failed)?;
        Ok(answer.take_kvs().into_iter().next().map(|kv| self.entry(kv)))
    }

    async fn read_page(&self, request: RangeRequest) -> Result<Page, StoreError> {
        let start = match &request.after {
            // The next possible key is the same with a zero byte after it.
            Some(after) if *after >= request.prefix => [after.as_slice(), &[0]].concat(),
            Some(_) | None => request.prefix.clone(),
        };
        let end = prefix_end(&self.record_key(&request.prefix)).unwrap_or_else(|| vec![0]);
        let start = self.record_key(&start);
        if end != [0] && start >= end {
            return self.empty_page(request.at).await;
        }
        let mut limit = request.limit.clamp(1, self.limits().page_entries_max);
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .with_revision(request.at.map_or(0, etcd_revision));
            match self.kv().get(start.clone(), Some(options)).await {
                Ok(answer) => return self.page(answer, request.at),
                Err(error) if is_compacted(&error) => {
                    return Err(self.compacted(request.at.unwrap_or_default()).await);
                }
                Err(error) if is_too_large_to_decode(&error) && limit > 1 => limit /= 2,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn page(&self, mut answer: GetResponse, at: Option<Revision>) -> Result<Page, StoreError> {
        let revision = match at {
            Some(at) => at,
            None => header_revision(answer.header())?,
        };
        let more = answer.more();
        let entries = answer.take_kvs().into_iter().map(|kv| self.entry(kv)).collect();
        Ok(Page { entries, revision, more })
    }

    async fn empty_page(&self, at: Option<Revision>) -> Result<Page, StoreError> {
        let answer = self.kv().get(self.keys.format.clone(), None).await.map_err(failed)?;
        let revision = at.map_or_else(|| header_revision(answer.header()), Ok)?;
        Ok(Page { entries: Vec::new(), revision, more: false })
    }

    /// etcd does not say in a read what is left; the newest revision certainly is.
    async fn compacted(&self, asked: Revision) -> StoreError {
        match self.empty_page(None).await {
            Ok(page) => StoreError::Compacted { asked, oldest: page.revision },
            Err(error) => error,
        }
    }

    async fn apply(&self, transaction: &Transaction) -> TransactionResult {
        let token = transaction.token;
        let leads = Compare::create_revision(
            self.keys.leader.clone(),
            CompareOp::Equal,
            etcd_revision(token.create_revision),
        );
        let expected = self.mark_is(transaction.expected);
        let mut writes = Vec::with_capacity(transaction.changes.len() + 1);
        writes.push(TxnOp::put(self.keys.commit.clone(), mark_text(transaction.mark), None));
        writes.extend(transaction.changes.iter().map(|(key, value)| {
            let key = self.record_key(key);
            match value {
                Some(value) => TxnOp::put(key, value.clone(), None),
                None => TxnOp::delete(key, None),
            }
        }));
        let txn = Txn::new().when([leads, expected]).and_then(writes).or_else(self.guard_reads());
        match self.kv().txn(txn).await {
            Ok(answer) if answer.succeeded() => match header_revision(answer.header()) {
                Ok(revision) => TransactionResult::Applied { revision },
                Err(error) => TransactionResult::Unknown { reason: error.to_string() },
            },
            Ok(answer) => match guard_of(&answer.op_responses()) {
                Ok(guard) => TransactionResult::Guarded(guard),
                Err(error) => TransactionResult::Unknown { reason: error.to_string() },
            },
            Err(error) => transaction_failed(&error),
        }
    }

    fn mark_is(&self, mark: CommitMark) -> Compare {
        let key = self.keys.commit.clone();
        if mark == CommitMark::default() {
            Compare::create_revision(key, CompareOp::Equal, 0)
        } else {
            Compare::value(key, CompareOp::Equal, mark_text(mark))
        }
    }

    fn guard_reads(&self) -> Vec<TxnOp> {
        vec![TxnOp::get(self.keys.leader.clone(), None), TxnOp::get(self.keys.commit.clone(), None)]
    }

    async fn read_guard(&self) -> Result<Guard, StoreError> {
        let txn = Txn::new().and_then(self.guard_reads());
        let answer = self.kv().txn(txn).await.map_err(failed)?;
        guard_of(&answer.op_responses())
    }

    async fn read_leader(&self) -> Result<Option<(LeaderRecord, u64)>, StoreError> {
        let mut answer = self.kv().get(self.keys.leader.clone(), None).await.map_err(failed)?;
        Ok(answer.take_kvs().into_iter().next().map(|kv| {
            let create_revision = revision(kv.create_revision());
            let lease = lease_id(kv.lease());
            (LeaderRecord { create_revision, candidate: kv.into_key_value().1 }, lease)
        }))
    }

    async fn stand(&self, candidate: Value, ttl: Duration) -> Result<Campaign, StoreError> {
        loop {
            self.wait_for_free_seat().await?;
            if let Some(won) = self.try_seat(&candidate, ttl).await? {
                return Ok(won);
            }
        }
    }

    /// One try to create the campaign key; `None` if somebody was faster.
    async fn try_seat(
        &self,
        candidate: &Value,
        ttl: Duration,
    ) -> Result<Option<Campaign>, StoreError> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let confirmed_at = since_boot();
        let granted = self.calls.lease_client().grant(seconds, None).await.map_err(failed)?;
        let lease = lease_id(granted.id());
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
        let absent = Compare::create_revision(self.keys.leader.clone(), CompareOp::Equal, 0);
        let options = PutOptions::new().with_lease(granted.id());
        let sit = TxnOp::put(self.keys.leader.clone(), candidate.clone(), Some(options));
        let tried = self.kv().txn(Txn::new().when([absent]).and_then([sit])).await;
        let error = tried.err().map(failed);
        // Also after a lost answer, the key says who it belongs to.
        let create_revision = match self.read_leader().await? {
            Some((record, holder)) if holder == lease => record.create_revision,
            Some(_) | None => {
                // It expires by itself if this does not arrive.
                let _ = self.calls.lease_client().revoke(granted.id()).await;
                return error.map_or(Ok(None), Err);
            }
        };
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(lease, ttl);
        let token = LeaderToken { create_revision, lease };
        Ok(Some(Campaign { token, ttl, confirmed_at }))
    }

    async fn wait_for_free_seat(&self) -> Result<(), StoreError> {
        let answer = self.kv().get(self.keys.leader.clone(), None).await.map_err(failed)?;
        if answer.kvs().is_empty() {
            return Ok(());
        }
        let from = header_revision(answer.header())?.next();
        let options = WatchOptions::new().with_start_revision(etcd_revision(from));
        let mut client = self.streams.watch_client();
        let watched = client.watch(self.keys.leader.clone(), Some(options)).await;
        let mut stream = watched.map_err(failed)?;
        // Any event, or the end of the watch, is a reason to look again.
        while let Some(message) = stream.message().await.map_err(failed)? {
            if message.canceled() || !message.events().is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn renew(&self, token: LeaderToken) -> Result<Duration, StoreError> {
        let create_revision = token.create_revision;
        let ended = StoreError::LeadershipEnded { create_revision };
        let ttl = {
            let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
            granted.get(&token.lease).copied()
        };
        let Some(ttl) = ttl else { return Err(ended) };
        match self.streams.lease_client().keep_alive(etcd_lease(token.lease)).await {
            Ok(_streams) => {}
            Err(error) if failure::is_lease_gone(&error) => return Err(ended),
            Err(error) => return Err(failed(error)),
        }
        match self.read_leader().await? {
            Some((record, _)) if record.create_revision == create_revision => Ok(ttl),
            Some(_) | None => Err(ended),
        }
    }

    async fn give_up_seat(&self, token: LeaderToken) -> Result<(), StoreError> {
        let held = Compare::create_revision(
            self.keys.leader.clone(),
            CompareOp::Equal,
            etcd_revision(token.create_revision),
        );
        let leave = TxnOp::delete(self.keys.leader.clone(), Some(DeleteOptions::new()));
        self.kv().txn(Txn::new().when([held]).and_then([leave])).await.map_err(failed)?;
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).remove(&token.lease);
        // The key is gone; the lease without keys expires by itself if this does not arrive.
        let _ = self.calls.lease_client().revoke(etcd_lease(token.lease)).await;
        Ok(())
    }
}

impl Store for EtcdStore {
    fn limits(&self) -> Limits {
        Limits::ETCD
    }

    fn get(&self, key: Key) -> Answer<'_, Option<Entry>> {
        self.read(key).boxed()
    }

    fn range(&self, request: RangeRequest) -> Answer<'_, Page> {
        self.read_page(request).boxed()
    }

    fn watch(&self, prefix: Key, from: Revision) -> Answer<'_, ChangeStream> {
        let client = self.streams.watch_client().max_decoding_message_size(DECODED_BYTES_MAX);
        let strip = self.keys.records.len();
        changes::watch(client, self.record_key(&prefix), strip, from).boxed()
    }

    fn transact(&self, transaction: Arc<Transaction>) -> BoxFuture<'_, TransactionResult> {
        async move { self.apply(&transaction).await }.boxed()
    }

    fn guard(&self) -> Answer<'_, Guard> {
        self.read_guard().boxed()
    }

    fn campaign(&self, candidate: Value, ttl: Duration) -> Answer<'_, Campaign> {
        self.stand(candidate, ttl).boxed()
    }

    fn keep_alive(&self, token: LeaderToken) -> Answer<'_, Duration> {
        self.renew(token).boxed()
    }

    fn resign(&self, token: LeaderToken) -> Answer<'_, ()> {
        self.give_up_seat(token).boxed()
    }

    fn leader(&self) -> Answer<'_, Option<LeaderRecord>> {
        async move { Ok(self.read_leader().await?.map(|(record, _)| record)) }.boxed()
    }

    fn compact(&self, revision: Revision) -> Answer<'_, ()> {
        async move {
            match self.kv().compact(etcd_revision(revision), None).await {
                Err(error) if !is_compacted(&error) => Err(failed(error)),
                Ok(_) | Err(_) => Ok(()),
            }
        }
        .boxed()
    }

    fn usage(&self) -> Answer<'_, Usage> {
        async move {
            let status = self.calls.maintenance_client().status().await.map_err(failed)?;
            let bytes = u64::try_from(status.db_size()).unwrap_or(0);
            Ok(Usage { bytes, quota_bytes: Some(self.quota_bytes) })
        }
        .boxed()
    }
}

fn options(config: &EtcdConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
        .with_keep_alive_while_idle(true)
        // Else a watch on a member that lost its cluster stays silent.
        .with_require_leader(true);
    if let Some((name, password)) = &config.user {
        options = options.with_user(name, password).with_auto_token_refresh(true);
    }
    if let Some(tls) = &config.tls {
        let ca = etcd_client::Certificate::from_pem(&tls.ca_pem);
        let mut with = etcd_client::TlsOptions::new().ca_certificate(ca);
        if let Some((certificate, key)) = &tls.identity_pem {
            with = with.identity(etcd_client::Identity::from_pem(certificate, key));
        }
        options = options.with_tls(with);
    }
    options
}

fn guard_of(answers: &[TxnOpResponse]) -> Result<Guard, StoreError> {
    let unreadable = |reason: &str| StoreError::Damaged {
        place: "the commit mark in etcd".to_owned(),
        reason: reason.to_owned(),
    };
    let [TxnOpResponse::Get(leader), TxnOpResponse::Get(commit)] = answers else {
        return Err(unreadable("etcd did not answer both reads"));
    };
    let leader = leader.kvs().first().map(|kv| revision(kv.create_revision()));
    let Some(commit) = commit.kvs().first() else {
        return Ok(Guard { leader, mark: CommitMark::default(), mark_modified: Revision(0) });
    };
    let mark = parse_mark(commit.value()).ok_or_else(|| unreadable("not two numbers"))?;
    Ok(Guard { leader, mark, mark_modified: revision(commit.mod_revision()) })
}

/// Readable with etcdctl, as it is what an operator looks at when two masters disagree.
fn mark_text(mark: CommitMark) -> String {
    format!("{} {}", mark.sequence, mark.writer.0)
}

fn parse_mark(value: &[u8]) -> Option<CommitMark> {
    let (sequence, writer) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some(CommitMark { sequence: sequence.parse().ok()?, writer: Revision(writer.parse().ok()?) })
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision, StoreError> {
    let without = || StoreError::Unavailable { reason: "an answer without a header".to_owned() };
    header.map(|header| revision(header.revision())).ok_or_else(without)
}

/// etcd counts in `i64` and never below zero.
fn revision(etcd: i64) -> Revision {
    Revision(u64::try_from(etcd).unwrap_or(0))
}

fn etcd_revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// Lease ids are bit patterns: etcd shows them in hexadecimal.
fn lease_id(etcd: i64) -> u64 {
    etcd.cast_unsigned()
}

fn etcd_lease(lease: u64) -> i64 {
    lease.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_its_text() {
        let mark = CommitMark { sequence: 12, writer: Revision(9) };
        assert_eq!(parse_mark(mark_text(mark).as_bytes()), Some(mark));
        for wrong in ["", "1", "1 x", "x 1", "1 2 3", "-1 2"] {
            assert_eq!(parse_mark(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
