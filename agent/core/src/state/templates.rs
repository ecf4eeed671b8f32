//! Templates known to this agent: those in use are in the checkpoint, the others live as long as
//! the connection that brought them (K16).

use proffer_types::ids::TemplateDigest;
use proffer_types::refusal::Refusal;
use proffer_types::template::PodTemplate;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
struct Entry {
    /// A template that breaks a rule is kept as the reason, so that launches of it say why.
    template: Result<PodTemplate, Refusal>,
    /// Tasks that use it.
    uses: usize,
}

/// Templates by digest.
#[derive(Default, Debug)]
pub(crate) struct Templates {
    entries: BTreeMap<TemplateDigest, Entry>,
    /// In the order in which they came on this connection; bounds the unused ones.
    arrived: VecDeque<TemplateDigest>,
}

impl Templates {
    /// Remembers a template of this connection; above `unused_max` the oldest unused one goes. One
    /// that tasks use already counts as come now too: the master does not send it again, so it must
    /// outlive them.
    pub(crate) fn learn(
        &mut self,
        digest: TemplateDigest,
        template: Result<PodTemplate, Refusal>,
        unused_max: usize,
    ) {
        let is_good = |entry: &Entry| entry.template.is_ok();
        if !self.entries.get(&digest).is_some_and(is_good) {
            let uses = self.entries.get(&digest).map_or(0, |entry| entry.uses);
            self.entries.insert(digest, Entry { template, uses });
        }
        self.arrived.retain(|arrived| *arrived != digest);
        self.arrived.push_back(digest);
        if self.arrived.len() > unused_max
            && let Some(oldest) = self.arrived.pop_front()
        {
            self.drop_unused(oldest);
        }
    }

    /// A new connection begins: its master sends again what it names.
    pub(crate) fn connection_ended(&mut self) {
        while let Some(digest) = self.arrived.pop_front() {
            self.drop_unused(digest);
        }
    }

    pub(crate) fn get(&self, digest: &TemplateDigest) -> Option<Result<&PodTemplate, &Refusal>> {
        self.entries.get(digest).map(|entry| entry.template.as_ref())
    }

    /// The template of a task: it was found good when the task was taken.
    pub(crate) fn in_use(&self, digest: &TemplateDigest) -> Option<&PodTemplate> {
        self.get(digest)?.ok()
    }

    /// Restores a template of a recovered task.
    pub(crate) fn restore(&mut self, digest: TemplateDigest, template: PodTemplate) {
        self.entries.insert(digest, Entry { template: Ok(template), uses: 0 });
    }

    /// One more task uses it; true for the first.
    pub(crate) fn acquire(&mut self, digest: &TemplateDigest) -> bool {
        let Some(entry) = self.entries.get_mut(digest) else { return false };
        entry.uses += 1;
        entry.uses == 1
    }

    /// One task less uses it; true for the last.
    pub(crate) fn release(&mut self, digest: &TemplateDigest) -> bool {
        let Some(entry) = self.entries.get_mut(digest) else { return false };
        entry.uses = entry.uses.saturating_sub(1);
        let unused = entry.uses == 0;
        if unused && !self.arrived.contains(digest) {
            self.entries.remove(digest);
        }
        unused
    }

    /// Takes out all that no task uses; returns their digests.
    pub(crate) fn take_unused(&mut self) -> Vec<TemplateDigest> {
        let unused = self.entries.iter().filter(|(_, entry)| entry.uses == 0);
        let digests: Vec<TemplateDigest> = unused.map(|(digest, _)| *digest).collect();
        for digest in &digests {
            self.entries.remove(digest);
        }
        digests
    }

    fn drop_unused(&mut self, digest: TemplateDigest) {
        if self.entries.get(&digest).is_some_and(|entry| entry.uses == 0) {
            self.entries.remove(&digest);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Digests in use with their number of tasks.
    pub(crate) fn uses(&self) -> impl Iterator<Item = (&TemplateDigest, usize)> {
        self.entries.iter().map(|(digest, entry)| (digest, entry.uses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_types::template::{KillPolicy, OnDisconnect};
    use proffer_types::units::DurationMs;

    fn template() -> PodTemplate {
        PodTemplate {
            containers: Vec::new(),
            kill: KillPolicy { signal: 15, grace: DurationMs(1) },
            on_disconnect: OnDisconnect::Keep,
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn a_template_that_came_while_a_task_used_it_outlives_that_task() {
        // Found by simulation: a task of an earlier connection held the template when the master sent
        // it; with the task's end it was forgotten, and every later launch was refused.
        let digest = template().digest();
        let mut templates = Templates::default();
        templates.restore(digest, template());
        templates.acquire(&digest);
        templates.learn(digest, Ok(template()), 4);
        templates.release(&digest);
        assert!(templates.get(&digest).is_some(), "the master will not send it again");
        templates.connection_ended();
        assert!(templates.get(&digest).is_none(), "the next connection brings it again");
    }

    #[test]
    fn a_template_that_comes_again_is_the_newest() {
        let named = |number: u8| TemplateDigest([number; 32]);
        let mut templates = Templates::default();
        for number in [1, 2, 1, 3] {
            templates.learn(named(number), Ok(template()), 2);
        }
        assert!(templates.get(&named(2)).is_none());
        assert!(templates.get(&named(1)).is_some() && templates.get(&named(3)).is_some());
    }
}
