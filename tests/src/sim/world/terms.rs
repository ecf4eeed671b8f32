//! Terms of the world: elections among masters and among the members of their store, recovery from what is
//! stored, leases.

use super::store::{Answer, Ask};
use super::*;
use crate::sim::plan::INVERSE_OFFER_TIMEOUT;

/// What a master that was elected has read so far.
pub(super) struct Recovery {
    token: LeaderToken,
    confirmed_at: Duration,
    pub(super) guard: Option<Guard>,
    image: RegistryImage,
    pub(super) request: RangeRequest,
    /// Where the store stood when the term before this one began.
    pub(super) before: Option<Revision>,
}

impl World {
    /// The time on a master's own clock, as the store's protocol wants it.
    pub(super) fn store_clock(&self, node: usize) -> Duration {
        Duration::from_millis(self.queue.now_ms() + self.masters[node].clock_ahead_ms)
    }

    pub(super) fn campaign(&mut self, life: Life) {
        if self.master_at(life) {
            self.ask_store_soon(life, Ask::Campaign);
        }
    }

    /// The store seats a candidate if nobody sits there.
    pub(super) fn elect_master(&mut self, life: Life, stood_at: Duration) -> Option<LeaderToken> {
        let now = Duration::from_millis(self.queue.now_ms());
        let token = self.store.campaign(life.node.to_string().into_bytes(), LEASE_TTL, now)?;
        self.deposed = self.elected.map(|seated| seated.token.create_revision);
        self.elected = Some(Seated { life, token, stood_at });
        self.leased(life, token, LEASE_TTL);
        Some(token)
    }

    pub(super) fn leased(&mut self, life: Life, token: LeaderToken, ttl: Duration) {
        let until_ms = self.queue.now_ms() + u64::try_from(ttl.as_millis()).unwrap_or(0);
        let (node, term) = (life.node, token.create_revision.0);
        self.see(&Seen::Leased { node, life: life.life, term, until_ms });
    }

    /// A candidate learns what became of its campaign.
    pub(super) fn stood(&mut self, life: Life, sent_at: Duration, seat: Option<LeaderToken>) {
        let Some(token) = seat else { return self.stand_again(life) };
        let limit = usize::try_from(between(&mut self.chance.members, 2, 30)).unwrap_or(2);
        let recovery = Recovery {
            token,
            confirmed_at: sent_at,
            guard: None,
            image: RegistryImage::default(),
            request: RangeRequest { limit, ..RangeRequest::default() },
            before: self.deposed,
        };
        self.ask_store_soon(life, Ask::Recovery(Box::new(recovery)));
    }

    fn stand_again(&mut self, life: Life) {
        let pause = between(&mut self.chance.store, 100, 1_000);
        self.queue.after(pause, Event::Campaign(life));
    }

    /// A master that was elected reads the guard, then the registry page by page, then leads.
    pub(super) fn recovers(&mut self, life: Life, mut read: Recovery, answer: Option<Answer>) {
        match answer {
            Some(Answer::Guard(guard)) if guard.leader == Some(read.token.create_revision) => {
                read.guard = Some(guard);
            }
            Some(Answer::Page(Ok(page))) => {
                for entry in &page.entries {
                    if let Err(error) = read.image.add(&entry.key, &entry.value) {
                        return self.not_recovered(life, &error.to_string());
                    }
                }
                if !page.more {
                    if let Err(why) = self.lead(life, read) {
                        self.not_recovered(life, &why);
                    }
                    return;
                }
                self.marks.reach("recovery_in_parts");
                read.request.at = Some(page.revision);
                read.request.after = page.entries.last().map(|entry| entry.key.clone());
            }
            // Nobody says whether this term stands, or another one does.
            _ if read.guard.is_none() => return self.stand_again(life),
            // A page cannot be read, or its revision was compacted: the process ends.
            _ => {
                self.marks.reach("recovery_given_up");
                return self.kill_master(life.node);
            }
        }
        self.ask_store_soon(life, Ask::Recovery(Box::new(read)));
    }

    fn not_recovered(&mut self, life: Life, why: &str) {
        if self.planted.is_none() {
            self.broken = Some(format!("recovery of master {}: {why}", life.node));
        }
    }

    fn lead(&mut self, life: Life, read: Recovery) -> Result<(), String> {
        let Recovery { token, confirmed_at, guard, image, .. } = read;
        let mark = guard.map(|guard| guard.mark).unwrap_or_default();
        let lease = LeaderLease::new(confirmed_at, LEASE_TTL);
        let now = self.master_clock(life.node);
        let endless = self.strikes(Planted::EndlessOffers);
        let config = master::Config {
            capability_secret: b"simulated".to_vec(),
            // Often enough that a record of who has tasks where is trimmed before the last look (I15).
            occupancy_sweep: DurationMs::from_secs(10),
            offer_ttl: DurationMs(self.plan.offer_ttl_ms),
            gang_prepare_timeout: DurationMs(5_000),
            inverse_offer_timeout: INVERSE_OFFER_TIMEOUT,
            // Below what frameworks check by themselves, so that the master has to refuse (K9).
            state_budget: StateBudget { value_max: 32 << 10, ..StateBudget::default() },
            preemption: master::Preemption {
                // Simulated tasks are short: whoever finds no place at once has somebody make room.
                after: DurationMs(0),
                grace: DurationMs::from_secs(1),
                ..master::Preemption::default()
            },
            offers_held_max: if endless { u32::MAX } else { self.plan.offers_held_max },
            ..master::Config::default()
        };
        let core = Master::recover(config, image, now).map_err(|refusal| refusal.to_string())?;
        let queue = CommitQueue::new(token, mark, Limits::ETCD, QueueBudget::default());
        let lease_until = self.believed(lease_until(&lease, confirmed_at));
        let mut leading = Leading {
            core,
            queue,
            lease,
            token,
            inbox: std::collections::VecDeque::new(),
            turn_scheduled: false,
            called_at_ms: None,
            connections: std::collections::BTreeMap::new(),
            last_connection: 0,
            heard: std::collections::BTreeSet::new(),
            asking: false,
        };
        leading.hear(self.queue.now_ms(), Command::LeadershipGained { lease_until });
        self.masters[life.node].state = State::Leading(Box::new(leading));
        self.counts.failovers += 1;
        self.schedule_turn(life.node);
        self.queue.after(RENEW_MS, Event::Renew(life));
        Ok(())
    }

    pub(super) fn renew(&mut self, life: Life) {
        if !self.master_at(life) || self.stands_still(life.node, Event::Renew(life)) {
            return;
        }
        let Some(token) = self.masters[life.node].leading().map(|leading| leading.token) else {
            return;
        };
        self.ask_store_soon(life, Ask::KeepAlive(token));
        // A tick lets the core see that its lease has run out although nothing else happens.
        self.push(life.node, None);
    }

    /// The answer to a renewal; `None`: there is none.
    pub(super) fn kept_alive(
        &mut self,
        life: Life,
        token: LeaderToken,
        sent_at: Duration,
        kept: Option<Option<Duration>>,
    ) {
        let Some(leading) = self.masters[life.node].leading_mut() else { return };
        match kept {
            None => {
                let pause = u64::try_from(leading.lease.retry_after().as_millis()).unwrap_or(1);
                self.queue.after(pause, Event::Renew(life));
            }
            Some(None) if self.planted == Some(Planted::EndlessLease) => {}
            Some(None) => {
                // The key is another's or gone: this term cannot be resumed (K8).
                self.marks.reach("term_lost");
                self.kill_master(life.node);
            }
            Some(Some(ttl)) if leading.token == token => {
                leading.lease.confirmed(sent_at, ttl);
                let until = lease_until(&leading.lease, sent_at);
                let lease_until = self.believed(until);
                self.push(life.node, Some(Command::LeaseConfirmed { lease_until }));
                self.pump_store(life.node);
                self.queue.after(RENEW_MS, Event::Renew(life));
            }
            Some(Some(_)) => {}
        }
    }

    /// What a leader believes of its lease.
    fn believed(&mut self, until: Monotonic) -> Monotonic {
        let endless = self.strikes(Planted::EndlessLease);
        let more = if endless { DurationMs::from_secs(3_600) } else { DurationMs(0) };
        until.after(more)
    }

    /// After a while the members that reach each other look for a leader, if they have none.
    pub fn members_look(&mut self) {
        if !self.members.has_majority() {
            self.counts.fault("majority_lost");
        } else if self.members.leader().is_none() {
            let pause = between(&mut self.chance.members, 200, 3_000);
            self.queue.after(pause, Event::ElectMember);
        }
    }

    /// Members elect a leader. It gives every lease its full time again, as etcd's does: nobody could
    /// renew while there was none.
    pub(super) fn elect_member(&mut self) {
        let nth = self.chance.members.random_range(0..usize::MAX);
        if self.members.elect(nth) {
            self.counts.fault("member_elected");
            self.store.extend_leases(Duration::from_millis(self.queue.now_ms()));
        }
    }

    /// All members live and reach everybody.
    pub fn heal_members(&mut self) {
        self.members.heal();
        self.members_look();
    }
}
