//! One row: its lines, one after the other, on one allocator.

use crate::cluster::Cluster;
use proffer_allocator::{Decision, Delta, LeaseId, Policy, Use};
use proffer_types::demand::DemandGroup;
use proffer_types::resources::{Reservation, Resource, ResourceKey, Volume};
use proffer_types::role::RoleConfig;
use proffer_types::{
    AgentId, FrameworkId, GroupName, OfferCondition, ResourceName, Resources, RevocableUse,
    RoleName, attributes,
};
use std::collections::{BTreeMap, BTreeSet};

/// The state of one row.
#[derive(Default)]
pub(crate) struct Script {
    cluster: Cluster,
    agents: BTreeMap<String, AgentId>,
    frameworks: BTreeMap<String, FrameworkId>,
    roles: BTreeMap<FrameworkId, BTreeSet<RoleName>>,
    configs: BTreeMap<RoleName, RoleConfig>,
    uses: Vec<Use>,
    /// Decisions since the last line that looked at their order.
    fresh: Vec<Decision>,
    pub(crate) expectations: u32,
}

type Outcome = Result<(), String>;

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| format!("{text:?}: {error}"))
}

fn role(text: &str) -> Result<RoleName, String> {
    RoleName::new(text).map_err(|refusal| refusal.message)
}

/// As resources are written, with more in the brackets behind a name: `disk(a>a/b,label=x):1GiB` is
/// refined from `a` to `a/b`, `disk(a,volume=v1,shared):1GiB` a shared volume.
fn resources(text: &str) -> Result<Resources, String> {
    let mut all = Resources::new();
    for part in text.split(';').filter(|part| !matches!(*part, "" | "nothing")) {
        let (left, quantity) = part.split_once(':').ok_or(format!("{part:?} has no quantity"))?;
        let (name, marks) = match left.strip_suffix(')').and_then(|left| left.split_once('(')) {
            Some((name, marks)) => (name, marks),
            None => (left, ""),
        };
        let plain: Resources = parsed(&format!("{name}:{quantity}"))?;
        let Some(entry) = plain.entries().first() else { continue };
        let key = marked(ResourceKey::plain(entry.key.name.clone()), marks)?;
        let entry = Resource { key, quantity: entry.quantity.clone() };
        all.insert(entry).map_err(|error| error.to_string())?;
    }
    Ok(all)
}

fn marked(mut key: ResourceKey, marks: &str) -> Result<ResourceKey, String> {
    let mut labels = BTreeMap::new();
    for mark in marks.split(',').filter(|mark| !mark.is_empty()) {
        match mark.split_once('=') {
            Some(("label", label)) => {
                labels.insert(label.to_owned(), String::new());
            }
            Some(("volume", id)) => {
                let id = id.parse().map_err(|_| format!("{id:?} names no volume"))?;
                key.volume = Some(Volume { id, container_path: "data".to_owned() });
            }
            Some((other, _)) => return Err(format!("no mark {other:?}")),
            None if mark == "shared" => key.shared = true,
            None if mark == "revocable" => key.revocable = true,
            None if mark == "lent" => (key.revocable, key.lent) = (true, true),
            None => {
                for name in mark.split('>') {
                    key.reservations.push(Reservation {
                        role: role(name)?,
                        principal: None,
                        is_static: false,
                        labels: BTreeMap::new(),
                    });
                }
            }
        }
    }
    if let Some(level) = key.reservations.last_mut() {
        level.labels = labels;
    }
    Ok(key)
}

fn revocable_use(text: &str) -> Result<RevocableUse, String> {
    match text {
        "accept" => Ok(RevocableUse::Accept),
        "only" => Ok(RevocableUse::Only),
        "refuse" => Ok(RevocableUse::Refuse),
        _ => Err(format!("{text:?} says nothing of what is revocable")),
    }
}

fn same<T: PartialEq + std::fmt::Display>(found: &T, expected: &T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found}, expected {expected}")),
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { cluster: Cluster::new(), ..Self::default() }
    }

    pub(crate) fn step(&mut self, line: &str) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, rest) = words.split_first().ok_or("an empty line")?;
        match *verb {
            "agent" | "change" | "on" | "off" | "remove" => self.agent_step(verb, rest),
            "weight" | "guarantee" | "limit" | "exclude" | "gpus_for_need_only" => {
                self.policy_step(verb, rest)
            }
            "gets" | "offered" | "order" | "share" | "consumed" | "owed" | "tasks" | "free"
            | "beyond" => {
                self.expectations += 1;
                self.expect(verb, rest)
            }
            "add" | "take" | "contains" | "count" | "reads" => {
                self.expectations += 1;
                arithmetic(verb, rest)
            }
            _ => self.framework_step(verb, rest),
        }
    }

    fn agent(&self, name: &str) -> Result<AgentId, String> {
        self.agents.get(name).copied().ok_or(format!("no agent {name:?}"))
    }

    fn framework(&self, name: &str) -> Result<FrameworkId, String> {
        self.frameworks.get(name).copied().ok_or(format!("no framework {name:?}"))
    }

    /// `agent NAME RESOURCES [off] [ATTRIBUTES]`, `change NAME RESOURCES [ATTRIBUTES]`, `on|off|remove NAME`.
    fn agent_step(&mut self, verb: &str, rest: &[&str]) -> Outcome {
        let (name, rest) = rest.split_first().ok_or("which agent?")?;
        if verb == "agent" {
            let agent = self.cluster.agent("");
            self.agents.insert((*name).to_owned(), agent);
            if rest.contains(&"off") {
                self.cluster.tell(&Delta::AgentUsable { agent, usable: false });
            }
        }
        let agent = self.agent(name)?;
        match verb {
            "agent" | "change" => {
                let text = rest.first().ok_or("what does it have?")?;
                let text_of_attributes = rest[1..].iter().find(|word| **word != "off");
                let attributes =
                    attributes::parse_attributes(text_of_attributes.copied().unwrap_or_default())
                        .map_err(|refusal| format!("{refusal:?}"))?;
                let resources = resources(text)?;
                self.cluster.tell(&Delta::AgentChanged { agent, resources, attributes });
            }
            "remove" => {
                self.agents.remove(*name);
                self.uses.retain(|held| held.agent != agent);
                self.cluster.leases.retain(|_, lease| lease.agent != agent);
                self.cluster.tell(&Delta::AgentRemoved { agent });
            }
            _ => self.cluster.tell(&Delta::AgentUsable { agent, usable: verb == "on" }),
        }
        Ok(())
    }

    /// `weight ROLE N`, `guarantee|limit ROLE QUANTITIES|-`, `exclude NAMES|-`, `gpus_for_need_only`.
    fn policy_step(&mut self, verb: &str, rest: &[&str]) -> Outcome {
        if matches!(verb, "exclude" | "gpus_for_need_only") {
            let names = rest.first().map_or("", |names| names).split(',');
            let excluded: Result<BTreeSet<ResourceName>, String> =
                names.filter(|name| !name.is_empty()).map(parsed).collect();
            let policy = Policy {
                fair_excluded: excluded?,
                scarce_for_need_only: verb == "gpus_for_need_only",
                ..Policy::default()
            };
            self.cluster.tell(&Delta::PolicySet { policy });
            return Ok(());
        }
        let [name, value] = rest else { return Err("a role and a value".to_owned()) };
        let role = role(name)?;
        let config = self.configs.entry(role.clone()).or_default();
        let quantities = || match *value {
            "-" => Ok(Default::default()),
            text => text.parse().map_err(|error| format!("{error:?}")),
        };
        match verb {
            "weight" => {
                let weight: f64 = parsed(value)?;
                config.weight_milli = (weight * 1000.0).round() as u64;
            }
            "guarantee" => config.guarantee = quantities()?,
            _ => config.limit = quantities()?,
        }
        config.validate().map_err(|refusal| refusal.message)?;
        self.cluster.tell(&Delta::RoleSet { role, config: config.clone() });
        Ok(())
    }

    /// What frameworks do; the first word after the verb is the framework's name.
    fn framework_step(&mut self, verb: &str, rest: &[&str]) -> Outcome {
        if verb == "settle" {
            self.fresh.extend(self.cluster.settle());
            return Ok(());
        }
        if verb == "advance" {
            self.cluster.now.0 += parsed::<u64>(rest.first().ok_or("how long?")?)? * 1000;
            return Ok(());
        }
        let (name, rest) = rest.split_first().ok_or("which framework?")?;
        if verb == "framework" && !self.frameworks.contains_key(*name) {
            let id = FrameworkId(self.frameworks.len() as u64 + 1);
            self.frameworks.insert((*name).to_owned(), id);
        }
        let framework = self.framework(name)?;
        let roles: Result<BTreeSet<RoleName>, String> = rest.iter().map(|r| role(r)).collect();
        match verb {
            // `framework NAME ROLES`: subscribes, or changes its roles.
            "framework" => {
                let roles = roles?;
                self.roles.insert(framework, roles.clone());
                self.cluster.tell(&Delta::FrameworkAdded { framework, roles });
                self.cluster.tell(&Delta::FrameworkActive { framework, active: true });
            }
            "connect" | "disconnect" => {
                let active = verb == "connect";
                self.cluster.tell(&Delta::FrameworkActive { framework, active });
                if !active {
                    self.end_leases(framework, None, |cluster, lease| cluster.give_back(lease))?;
                }
            }
            "leave" => {
                self.end_leases(framework, None, |cluster, lease| cluster.give_back(lease))?;
                self.cluster.tell(&Delta::FrameworkRemoved { framework });
            }
            // `suppress|revive NAME [ROLES]`: no roles are all.
            "suppress" | "revive" => {
                let named = roles?;
                let all = &self.roles[&framework];
                let named = if named.is_empty() { all.clone() } else { named };
                for role in &named {
                    let (role, suppressed) = (role.clone(), verb == "suppress");
                    self.cluster.tell(&Delta::Suppressed { framework, role, suppressed });
                }
                if verb == "revive" {
                    self.cluster.tell(&Delta::FiltersCleared { framework, roles: named });
                }
            }
            // `revocable NAME accept|only|refuse`: for all its roles, while it states no demand.
            "revocable" => {
                let revocable = revocable_use(rest.first().ok_or("what does it say?")?)?;
                for role in self.roles[&framework].clone() {
                    let condition = OfferCondition { revocable, ..OfferCondition::default() };
                    self.cluster.tell(&Delta::OfferCondition { framework, role, condition });
                }
            }
            _ => return self.holding_step(verb, framework, rest),
        }
        Ok(())
    }

    fn holding_step(&mut self, verb: &str, framework: FrameworkId, rest: &[&str]) -> Outcome {
        match (verb, rest) {
            // `wants NAME ROLE SHAPE TASKS`
            ("wants", [name, shape, tasks]) => {
                role(name)?;
                let group = crate::cluster::group("g", name, shape, parsed(tasks)?);
                self.cluster.demand(framework, vec![group]);
            }
            // `wants NAME ROLE SHAPE TASKS accept|only`: what may be taken back will do
            ("wants", [name, shape, tasks, said]) => {
                role(name)?;
                let group = crate::cluster::group("g", name, shape, parsed(tasks)?);
                let group = DemandGroup { revocable: revocable_use(said)?, ..group };
                self.cluster.demand(framework, vec![group]);
            }
            // `holds NAME ROLE AGENT RESOURCES`: tasks, not asked for here
            ("holds", [name, agent, text]) => {
                let held = Use {
                    agent: self.agent(agent)?,
                    framework,
                    role: role(name)?,
                    resources: resources(text)?,
                    group: None,
                    tasks: 0,
                };
                self.uses.push(held.clone());
                self.cluster.tell(&Delta::Allocated(held));
            }
            // `ends NAME RESOURCES`: tasks that hold just that
            ("ends", [text]) => {
                let resources = resources(text)?;
                let mine = |held: &Use| held.framework == framework && held.resources == resources;
                let at = self.uses.iter().position(mine).ok_or("no such tasks")?;
                self.cluster.tell(&Delta::Released(self.uses.remove(at)));
            }
            // `accepts NAME [ROLE]`, `returns NAME [ROLE]`, `declines NAME SECONDS [ROLE]`
            ("accepts", roles) => {
                let taken = self.end_leases(framework, roles.first(), Cluster::accept)?;
                self.uses.extend(taken);
            }
            ("returns", roles) => {
                self.end_leases(framework, roles.first(), Cluster::give_back)?;
            }
            ("declines", [seconds, roles @ ..]) => {
                let for_ms = parsed::<u64>(seconds)? * 1000;
                self.end_leases(framework, roles.first(), |cluster, lease| match for_ms {
                    0 => cluster.give_back(lease),
                    _ => cluster.decline(lease, for_ms),
                })?;
            }
            _ => return Err(format!("no step {verb:?} with {} words", rest.len())),
        }
        Ok(())
    }

    fn end_leases<T>(
        &mut self,
        framework: FrameworkId,
        of_role: Option<&&str>,
        end: impl Fn(&mut Cluster, LeaseId) -> T,
    ) -> Result<Vec<T>, String> {
        let of_role = of_role.map(|name| role(name)).transpose()?;
        let leases = self.cluster.leases.values().filter(|lease| {
            lease.framework == framework && of_role.as_ref().is_none_or(|r| lease.role == *r)
        });
        let ids: Vec<LeaseId> = leases.map(|lease| lease.lease).collect();
        Ok(ids.into_iter().map(|id| end(&mut self.cluster, id)).collect())
    }

    fn name_of(&self, framework: FrameworkId) -> &str {
        let found = self.frameworks.iter().find(|(_, id)| **id == framework);
        found.map_or("?", |(name, _)| name)
    }

    fn expect(&mut self, verb: &str, rest: &[&str]) -> Outcome {
        match (verb, rest) {
            // `gets NAME RESOURCES`: all its leases together, after all is decided
            ("gets", [name, text]) => {
                self.fresh.extend(self.cluster.settle());
                same(&self.cluster.leased(self.framework(name)?), &resources(text)?)
            }
            // `offered NAME ROLE RESOURCES`: all its leases as one role
            ("offered", [name, as_role, text]) => {
                self.fresh.extend(self.cluster.settle());
                let (framework, role) = (self.framework(name)?, role(as_role)?);
                let mine = self.cluster.leases.values();
                let mine = mine.filter(|l| l.framework == framework && l.role == role);
                let found = Resources::sum(mine.map(|lease| &lease.resources));
                same(&found.map_err(|error| error.to_string())?, &resources(text)?)
            }
            // `order NAMES`: who was decided for since the last such line, one after the other
            ("order", names) => {
                self.fresh.extend(self.cluster.settle());
                let fresh = std::mem::take(&mut self.fresh);
                let found: Vec<&str> = fresh.iter().map(|d| self.name_of(d.framework)).collect();
                let names: Vec<&str> = names.iter().copied().filter(|n| *n != "nobody").collect();
                same(&found.join(" "), &names.join(" "))
            }
            // `tasks NAME COUNT WAITING`: how many its leases hold, how many of its group wait
            ("tasks", [name, count, waiting]) => {
                self.fresh.extend(self.cluster.settle());
                let framework = self.framework(name)?;
                let group = GroupName::new("g").map_err(|refusal| refusal.message)?;
                same(&self.cluster.tasks_of(framework), &parsed(count)?)?;
                same(&self.cluster.allocator.unmet(framework, &group), &parsed(waiting)?)
            }
            // `share ROLE PPM`, `share ROLE FRAMEWORK PPM`
            ("share", [name, ppm]) => {
                same(&self.cluster.allocator.dominant_share_ppm(&role(name)?), &parsed(ppm)?)
            }
            ("share", [name, framework, ppm]) => {
                let framework = self.framework(framework)?;
                let found = self.cluster.allocator.framework_share_ppm(framework, &role(name)?);
                same(&found, &parsed(ppm)?)
            }
            ("consumed", [name, text]) => {
                same(&self.cluster.allocator.consumed(&role(name)?), &resources(text)?)
            }
            ("owed", [name, text]) => {
                same(&self.cluster.allocator.owed(&role(name)?), &resources(text)?)
            }
            ("free", [name, text]) => {
                same(&self.cluster.allocator.free(self.agent(name)?), &resources(text)?)
            }
            // `beyond ROLE RESOURCES yes|no`: whether so much more would be too much
            ("beyond", [name, text, answer]) => {
                let found = self.cluster.allocator.beyond_limit(&role(name)?, &resources(text)?);
                same(&found.is_some(), &(*answer == "yes"))
            }
            _ => Err(format!("no expectation {verb:?} with {} words", rest.len())),
        }
    }
}

/// `add A B = SUM|refused`, `take A B = REST|refused`, `contains A B = yes|no`, `count NAME A = N`,
/// `reads TEXT = yes|no`.
fn arithmetic(verb: &str, rest: &[&str]) -> Outcome {
    let at = rest.iter().position(|word| *word == "=").ok_or("no '='")?;
    let (given, expected) = (&rest[..at], rest[at + 1..].join(" "));
    let show = |result: Result<Resources, _>| match result {
        Ok(resources) if resources.is_empty() => "nothing".to_owned(),
        Ok(resources) => format!("{resources:?}"),
        Err(_) => "refused".to_owned(),
    };
    let written = |text: &str| match text {
        "refused" | "nothing" => Ok(text.to_owned()),
        text => resources(text).map(|resources| format!("{resources:?}")),
    };
    let yes = |is: bool| if is { "yes".to_owned() } else { "no".to_owned() };
    match (verb, given) {
        ("add", [a, b]) => {
            same(&show(resources(a)?.checked_add(&resources(b)?)), &written(&expected)?)
        }
        ("take", [a, b]) => {
            same(&show(resources(a)?.checked_sub(&resources(b)?)), &written(&expected)?)
        }
        ("contains", [a, b]) => same(&yes(resources(a)?.contains(&resources(b)?)), &expected),
        ("count", [name, a]) => same(&resources(a)?.scalar(&parsed(name)?), &parsed(&expected)?),
        ("reads", [text]) => same(&yes(text.parse::<Resources>().is_ok()), &expected),
        _ => Err(format!("no arithmetic {verb:?} with {} words", given.len())),
    }
}
