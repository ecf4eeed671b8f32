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
    /// Remembers a template of this connection; above `unused_max` the oldest unused one goes.
    pub(crate) fn learn(
        &mut self,
        digest: TemplateDigest,
        template: Result<PodTemplate, Refusal>,
        unused_max: usize,
    ) {
        if self.entries.contains_key(&digest) {
            return;
        }
        self.entries.insert(digest, Entry { template, uses: 0 });
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
