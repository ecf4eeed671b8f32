//! Why a role waits, and what it has: its share, weight and quota, who comes before it, and what keeps
//! the frameworks in it and below it waiting.

use super::{Answer, Wish, percent};
use crate::fair_tree::Before;
use crate::state::Allocator;
use proffer_types::explanation::{Explanation, Subject};
use proffer_types::{Milli, Monotonic, Resources, RoleName};

/// Most siblings and groups that are named one by one.
const NAMED_MAX: usize = 5;

impl Allocator {
    pub(super) fn explain_role(
        &self,
        subject: &Subject,
        role: &RoleName,
        now: Monotonic,
    ) -> Explanation {
        let mut answer = Answer::new(subject, "");
        let Some(node) = self.fair.node_of(role) else {
            answer.summary(format!("nobody uses role {role}, and nothing is set on it"));
            answer.hint(format!("a framework that subscribes with role {role} takes part in it"));
            return answer.explanation;
        };
        let clients = self.fair.clients_below(node).unwrap_or_default();
        answer.step("frameworks in the role and below it", clients.len());
        let present: Vec<u32> =
            clients.iter().copied().filter(|client| self.clients[*client].present).collect();
        answer.step("connected, subscribed and not suppressed", present.len());
        let states_demand = |client: &u32| {
            let framework = self.clients[*client].framework;
            self.frameworks.get(&framework).is_some_and(|entry| entry.states_demand)
        };
        let (stating, classical): (Vec<u32>, Vec<u32>) =
            present.iter().copied().partition(states_demand);
        let groups = stating.iter().flat_map(|client| self.clients[*client].groups.iter());
        let wishes: Vec<Wish<'_>> = groups
            .filter_map(|group| self.wish(*group))
            .filter(|wish| wish.group.unmet() > 0)
            .collect();
        let mut waiting: Vec<u32> = wishes.iter().map(|wish| wish.spec.client).collect();
        waiting.sort_unstable();
        waiting.dedup();
        answer.step("of these, with demand or open to any offer", waiting.len() + classical.len());

        let has = self.standing(role, node);
        let tasks: u64 = wishes.iter().map(|wish| u64::from(wish.group.unmet())).sum();
        let first = wishes.first().map(|wish| self.explain_unmet(subject, wish, now));
        let state = if clients.is_empty() {
            "no framework uses it".to_owned()
        } else if present.is_empty() {
            "none of its frameworks can be offered anything".to_owned()
        } else if let Some(first) = &first {
            let groups = wishes.len();
            match groups {
                1 => first.summary.clone(),
                _ => format!("{tasks} tasks of {groups} groups wait; {}", first.summary),
            }
        } else if classical.is_empty() {
            "all that its frameworks want is launched or offered".to_owned()
        } else {
            format!("{} of its frameworks take any offer", classical.len())
        };
        answer.summary(format!("{has}; {state}"));
        self.advise_role(&mut answer, role, &clients, &present);
        if let Some(first) = first {
            answer.explanation.funnel.extend(first.funnel);
            answer.explanation.nearest_miss = first.nearest_miss;
            answer.explanation.hints.extend(first.hints);
        } else if let [client, ..] = classical.as_slice() {
            let framework = self.clients[*client].framework;
            let asked = self.explain_classical(subject, framework, &classical, now);
            answer.explanation.funnel.extend(asked.funnel);
            answer.explanation.hints.extend(asked.hints);
            answer.explanation.summary += &format!("; {}", asked.summary);
        }
        self.name_before(&mut answer, node);
        for wish in wishes.iter().skip(1).take(NAMED_MAX) {
            let (unmet, group) = (wish.group.unmet(), &wish.group.name);
            let framework = wish.group.framework;
            answer.hint(format!("{unmet} tasks of demand {framework}/{group} wait too"));
        }
        answer.explanation
    }

    /// Share, weight, use and quota in one sentence.
    fn standing(&self, role: &RoleName, node: u32) -> String {
        let (_, share) = self.fair.role(role).expect("it has a node");
        let show = |resources: &Resources| match resources.is_empty() {
            true => "nothing".to_owned(),
            false => resources.to_string(),
        };
        let mut text = format!(
            "it holds {} of the cluster with weight {}, its fair part is {}; it uses, holds or \
             reserves {}",
            percent(share),
            Milli(self.fair.weight_milli(node)),
            percent(self.fair.entitlement_ppm(node)),
            show(&self.consumed(role))
        );
        let owed = self.owed(role);
        if !owed.is_empty() {
            text += &format!("; it is owed {owed}");
        }
        let limits = self.fair.limits_of(node).map(|(_, limits)| limits).unwrap_or_default();
        let limits: Vec<String> = limits
            .into_iter()
            .map(|limited| {
                let name = self.dimensions.name(limited.dimension);
                format!("{name} {}", self.show_amount(limited.dimension, limited.limit))
            })
            .collect();
        if !limits.is_empty() {
            text += &format!("; it may have at most {}", limits.join(", "));
        }
        text
    }

    fn advise_role(&self, answer: &mut Answer, role: &RoleName, all: &[u32], present: &[u32]) {
        let absent = all.iter().filter(|client| !present.contains(client)).take(NAMED_MAX);
        for (text, hint) in absent.filter_map(|client| self.absence(*client)) {
            answer.hint(format!("{text}: {hint}"));
        }
        if all.is_empty() {
            answer.hint(format!("a framework that subscribes with role {role} takes part in it"));
        }
    }

    /// Which siblings are served before it, at this level and at those above.
    fn name_before(&self, answer: &mut Answer, node: u32) {
        let before = self.fair.before(node);
        for Before { name, share_ppm, weight_milli, is_by_turn } in before.iter().take(NAMED_MAX) {
            let why = match is_by_turn {
                true => "as much for its weight, and fewer offers so far or the earlier name",
                false => "less for its weight",
            };
            answer.hint(format!(
                "before it comes {name}: it holds {} with weight {}: {why}",
                percent(*share_ppm),
                Milli(*weight_milli)
            ));
        }
        if before.len() > NAMED_MAX {
            answer.hint(format!("{} more come before it", before.len() - NAMED_MAX));
        }
    }
}
