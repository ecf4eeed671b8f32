//! Between memory and the framework state store: loading, commits under way, and what happens when
//! one is refused.

use crate::api::EventKind;
use crate::commands::with_template;
use crate::framework::{Answer, PendingCommit, ServiceFramework};
use crate::instance::InstanceName;
use crate::record::{self, RevisionRecord, ServiceRecord};
use crate::service::{Ending, Instance, Service};
use crate::spec::ServiceName;
use proffer_sdk_core::{Context, StateWrite};
use proffer_types::scheduler::Absence;
use proffer_types::{AgentId, Refusal, RefusalCode, TaskName};
use std::collections::{BTreeMap, BTreeSet};

impl ServiceFramework {
    /// A new epoch: everything is made anew from the store and the tasks. What this process
    /// remembers besides (since when an instance is ready, which linger) is kept where it still
    /// applies; a process without memory only waits those spans anew.
    pub(crate) fn rebuild(&mut self, ctx: &mut Context) {
        self.refuse_pending("the connection was lost while this was being stored");
        let mut before = std::mem::take(&mut self.services);
        self.events.begin_epoch(ctx.epoch());
        self.next_attempt = 0;
        self.endpoint_changes = 0;
        let absent: Vec<(AgentId, Absence)> =
            ctx.absent().iter().map(|(agent, absence)| (*agent, *absence)).collect();
        self.absent.retain(|agent, _| ctx.absent().contains_key(agent));
        for (agent, absence) in absent {
            self.agent_changed(agent, Some(absence));
        }
        self.fault = None;
        for key in ctx.state_keys(record::service_prefix()) {
            match self.load(&key, ctx) {
                Ok(service) => {
                    self.services.insert(service.record.name.clone(), service);
                }
                Err(refusal) => {
                    // Better nothing than half: an unknown service's instances would be ended.
                    self.fault = Some(refusal);
                    self.services.clear();
                    self.is_loaded = true;
                    return;
                }
            }
        }
        self.is_loaded = true;
        self.adopt(&mut before, ctx);
        self.mark_all();
        let known: BTreeSet<ServiceName> =
            self.services.keys().chain(self.views.keys()).cloned().collect();
        for name in known {
            self.publish(&name, ctx);
        }
    }

    fn load(&self, key: &str, ctx: &Context) -> Result<Service, Refusal> {
        let read = |key: &str| ctx.state(key).unwrap_or_default().to_vec();
        let record: ServiceRecord = record::decode(key, &read(key))?;
        let mut service = Service::new(record, self.now.monotonic);
        for key in ctx.state_keys(&record::revision_prefix(&service.record.name)) {
            let revision: RevisionRecord = record::decode(&key, &read(&key))?;
            service.revisions.insert(revision.number, with_template(revision)?);
        }
        if !service.revisions.contains_key(&service.record.target) {
            let message = format!("revision r{} is missing", service.record.target);
            return Err(Refusal::new(RefusalCode::InternalBug, key, message));
        }
        service.stored = Some(service.record.clone());
        service.restore_crashes(self.now.monotonic);
        Ok(service)
    }

    /// Recognises the instances of the snapshot by their names.
    fn adopt(&mut self, before: &mut BTreeMap<ServiceName, Service>, ctx: &mut Context) {
        let tasks: Vec<(TaskName, bool)> =
            ctx.tasks().iter().map(|task| (task.name().clone(), task.is_live())).collect();
        for (name, is_live) in tasks {
            let Some(parsed) = InstanceName::parse(&name) else { continue };
            let Some(service) = self.services.get_mut(&parsed.service) else {
                if is_live {
                    ctx.kill(&name, None);
                }
                continue;
            };
            let remembered =
                before.get_mut(&parsed.service).and_then(|service| service.instances.remove(&name));
            if !is_live {
                // Its end is about to be told.
                service.instances.extend(remembered.map(|instance| (name, instance)));
                continue;
            }
            let instance = remembered.unwrap_or_else(|| Instance::new(parsed));
            if instance.ending == Some(Ending::Stopping) {
                // The SDK forgets kills at a new epoch.
                let policy = crate::spec::template::kill_policy(service.spec_of(&instance));
                ctx.kill(&name, Some(policy));
            }
            service.instances.insert(name.clone(), instance);
            self.observe(&name, ctx);
        }
        for (name, mut old) in std::mem::take(before) {
            if let Some(service) = self.services.get_mut(&name) {
                service.slots = std::mem::take(&mut old.slots);
                service.last_failures = std::mem::take(&mut old.last_failures);
                service.is_new = old.is_new;
                service.knows_all = old.knows_all;
                if service.record.rollout.number == old.record.rollout.number {
                    service.available_max = old.available_max;
                }
            }
        }
    }

    /// The present records of services, for a commit that stores them.
    pub(crate) fn records_of<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ServiceName>,
    ) -> BTreeMap<ServiceName, ServiceRecord> {
        let record =
            |name: &ServiceName| Some((name.clone(), self.services.get(name)?.record.clone()));
        names.into_iter().filter_map(record).collect()
    }

    /// Issues a commit. None of the services that it concerns may be being stored.
    ///
    /// # Errors
    /// The SDK's refusal; memory was made to agree with the store again.
    pub(crate) fn commit(
        &mut self,
        writes: Vec<StateWrite>,
        pending: PendingCommit,
        ctx: &mut Context,
    ) -> Result<(), Refusal> {
        self.next_ticket += 1;
        if let Err(refusal) = ctx.commit(writes, self.next_ticket) {
            self.reload(pending.records.keys(), ctx);
            return Err(refusal);
        }
        for name in pending.records.keys() {
            if let Some(service) = self.services.get_mut(name) {
                service.is_storing = true;
            }
        }
        self.commits.insert(self.next_ticket, pending);
        Ok(())
    }

    pub(crate) fn committed(&mut self, ticket: u64, ctx: &mut Context) {
        let Some(pending) = self.commits.remove(&ticket) else { return };
        for (name, message) in pending.notes {
            self.events.push(self.now.wall, EventKind::Changed, &name, None, message);
        }
        for name in &pending.removes {
            self.services.remove(name);
            ctx.forget_available(name.as_str());
            self.events.push(self.now.wall, EventKind::Changed, name, None, "removed");
        }
        for (name, record) in pending.records {
            self.dirty.insert(name.clone());
            if let Some(service) = self.services.get_mut(&name) {
                service.is_storing = false;
                service.stored = Some(record);
                if std::mem::take(&mut service.is_ahead) {
                    self.store_record(&name, ctx);
                }
            }
            // Whoever is answered must find what he asked for when he looks.
            self.publish(&name, ctx);
        }
        if let Some((reply, result)) = pending.answer {
            self.answers.push(Answer { reply, result: Ok(result) });
        }
        self.go_on(ctx);
    }

    pub(crate) fn commit_refused(&mut self, ticket: u64, refusal: &Refusal, ctx: &mut Context) {
        let Some(pending) = self.commits.remove(&ticket) else { return };
        for name in pending.records.keys() {
            if let Some(service) = self.services.get_mut(name) {
                service.is_storing = false;
                service.is_ahead = false;
            }
        }
        self.reload(pending.records.keys(), ctx);
        for name in pending.records.keys() {
            let message = format!("could not be stored: {refusal}");
            self.events.push(self.now.wall, EventKind::Changed, name, None, message);
        }
        if let Some((reply, _)) = pending.answer {
            self.answers.push(Answer { reply, result: Err(refusal.clone()) });
        }
        self.go_on(ctx);
    }

    /// Makes memory agree with the store; what is known of instances is kept.
    fn reload<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a ServiceName>,
        ctx: &mut Context,
    ) {
        for name in services {
            let key = record::service_key(name);
            self.dirty.insert(name.clone());
            if ctx.state(&key).is_none() {
                self.services.remove(name);
                continue;
            }
            match self.load(&key, ctx) {
                Ok(stored) => {
                    let entry = self.services.entry(name.clone());
                    let service = entry.or_insert_with(|| stored.clone());
                    service.record = stored.record;
                    service.stored = stored.stored;
                    service.revisions = stored.revisions;
                }
                Err(refusal) => self.fault = Some(refusal),
            }
        }
    }

    /// Another replica is active: nothing known here counts any more.
    pub(crate) fn step_down(&mut self) {
        self.refuse_pending("another replica of the service framework took over");
        for command in std::mem::take(&mut self.waiting) {
            self.answers.push(Answer {
                reply: command.reply,
                result: Err(unavailable("this replica stands by")),
            });
        }
        self.services.clear();
        self.dirty.clear();
        self.absent.clear();
        self.views.clear();
        self.views_changed += 1;
        self.is_loaded = false;
        self.is_online = false;
    }

    fn refuse_pending(&mut self, why: &str) {
        for pending in std::mem::take(&mut self.commits).into_values() {
            if let Some((reply, _)) = pending.answer {
                self.answers.push(Answer { reply, result: Err(unavailable(why)) });
            }
        }
    }
}

fn unavailable(why: &str) -> Refusal {
    Refusal::new(RefusalCode::Unavailable, "", why).hint("look at the status, then ask again")
}
