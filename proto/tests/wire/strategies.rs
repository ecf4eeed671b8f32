//! Arbitrary domain messages, small but with every variant and every optional part. Strategies are
//! boxed: their values would not fit on the stack of a test otherwise.

use proffer_types::agent::*;
use proffer_types::attributes::*;
use proffer_types::demand::{Budget, DemandGroup, ExpiredGroup};
use proffer_types::executor::*;
use proffer_types::explanation::*;
use proffer_types::hold::*;
use proffer_types::inverse_offer::*;
use proffer_types::maintenance::*;
use proffer_types::offer::*;
use proffer_types::operator::*;
use proffer_types::resources::*;
use proffer_types::role::RoleConfig;
use proffer_types::scheduler::*;
use proffer_types::state_store::*;
use proffer_types::task::*;
use proffer_types::template::*;
use proffer_types::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z./ ]{1,12}", Just("größer als „erlaubt“\n\0".to_owned())]
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(text(), text(), 0..3)
}

fn words() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("[a-z]{1,5}", 0..4)
}

fn named<N: std::str::FromStr<Err = Refusal> + std::fmt::Debug>() -> impl Strategy<Value = N> {
    "[a-z0-9][a-z0-9._-]{0,10}".prop_map(|text| text.parse().expect("follows the rule"))
}

fn role() -> impl Strategy<Value = RoleName> {
    select(vec!["*", "eng", "eng/db", "a/b/c/d/e/f/g/h"])
        .prop_map(|text| RoleName::new(text).expect("valid"))
}

fn roles() -> impl Strategy<Value = BTreeSet<RoleName>> {
    btree_set(role(), 0..4)
}

fn principal() -> impl Strategy<Value = PrincipalName> {
    "[a-z:/@]{1,12}".prop_map(|text| PrincipalName::new(&text).expect("printable"))
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..100, Just(u64::MAX), any::<u64>()]
}

fn span() -> impl Strategy<Value = DurationMs> {
    number().prop_map(DurationMs)
}

fn moment() -> impl Strategy<Value = WallTime> {
    number().prop_map(WallTime)
}

fn agent_id() -> impl Strategy<Value = AgentId> {
    number().prop_map(AgentId)
}

fn framework_id() -> impl Strategy<Value = FrameworkId> {
    number().prop_map(FrameworkId)
}

fn offer_id() -> impl Strategy<Value = OfferId> {
    (number(), number())
        .prop_map(|(epoch, sequence)| OfferId { epoch: MasterEpoch(epoch), sequence })
}

fn token() -> impl Strategy<Value = LaunchToken> {
    (number(), number())
        .prop_map(|(session, sequence)| LaunchToken { session: FrameworkEpoch(session), sequence })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (number(), number(), number()).prop_map(|(incarnation, epoch, change)| Cursor {
        incarnation: Incarnation(incarnation),
        epoch: MasterEpoch(epoch),
        change,
    })
}

fn digest() -> impl Strategy<Value = TemplateDigest> {
    any::<[u8; 32]>().prop_map(TemplateDigest)
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (select(RefusalCode::ALL), text(), text(), text())
        .prop_map(|(code, field, message, hint)| Refusal { code, field, message, hint })
}

fn ranges() -> impl Strategy<Value = Ranges> {
    btree_set(0u64..70_000, 0..6)
        .prop_map(|set| Ranges::new(set.into_iter().map(|n| (n, n)).collect()).expect("disjoint"))
}

fn reservation() -> impl Strategy<Value = Reservation> {
    (role(), option::of(principal()), any::<bool>(), labels()).prop_map(
        |(role, principal, is_static, labels)| Reservation { role, principal, is_static, labels },
    )
}

fn volume() -> impl Strategy<Value = Volume> {
    (number(), text()).prop_map(|(id, container_path)| Volume { id: VolumeId(id), container_path })
}

fn reclaim() -> impl Strategy<Value = ReclaimPolicy> {
    select(vec![ReclaimPolicy::Retain, ReclaimPolicy::Delete])
}

fn hold_state() -> impl Strategy<Value = HoldState> {
    select(HoldState::WORDS.iter().map(|(_, state)| *state).collect::<Vec<_>>())
}

fn hold_id() -> impl Strategy<Value = HoldId> {
    prop_oneof![
        number().prop_map(|id| HoldId::Reservation(ReservationId(id))),
        number().prop_map(|id| HoldId::Volume(VolumeId(id))),
    ]
}

fn hold() -> BoxedStrategy<Hold> {
    let text = (role(), labels(), text(), any::<bool>());
    (hold_id(), number(), resources(), text, principal(), option::of(framework_id()), reclaim())
        .prop_map(|(id, op, resources, text, owner, framework, reclaim)| {
            let (role, labels, container_path, shared) = text;
            let kind = match id {
                HoldId::Reservation(_) => HoldKind::Reservation { role, labels },
                HoldId::Volume(_) => HoldKind::Volume { container_path, shared },
            };
            Hold { id, op, resources, kind, owner, framework, reclaim }
        })
        .boxed()
}

pub(crate) fn hold_row() -> BoxedStrategy<HoldRow> {
    (agent_id(), hold(), hold_state(), text())
        .prop_map(|(agent, hold, state, message)| HoldRow { agent, hold, state, message })
        .boxed()
}

fn resource() -> impl Strategy<Value = Resource> {
    let scalar = (1..u64::MAX / 4).prop_map(Quantity::Scalar);
    let plain = select(vec![
        ResourceName::Cpus,
        ResourceName::Mem,
        ResourceName::Disk,
        ResourceName::Gpus,
        ResourceName::Custom("licence".into()),
    ]);
    let quantity = prop_oneof![
        (plain, scalar.clone()),
        (Just(ResourceName::Ports), ranges().prop_map(Quantity::Ranges)),
        (Just(ResourceName::Custom("slots".into())), ranges().prop_map(Quantity::Ranges)),
        (Just(ResourceName::Custom("fpga".into())), words().prop_map(Quantity::Set)),
    ];
    let revocable = select(vec![(false, false), (true, false), (true, true)]);
    let marks = (vec(reservation(), 0..3), option::of(volume()), any::<bool>(), revocable);
    (quantity, marks).prop_map(|((name, quantity), (reservations, volume, shared, marks))| {
        let (revocable, lent) = marks;
        let key = ResourceKey { name, reservations, volume, shared, revocable, lent };
        Resource { key, quantity }
    })
}

pub(crate) fn resources() -> BoxedStrategy<Resources> {
    vec(resource(), 0..4)
        .prop_map(|entries| {
            // Two entries of one key may not add up (overlapping ranges): the first one stands.
            let mut sum = Resources::new();
            for entry in entries {
                let _ = sum.insert(entry);
            }
            sum
        })
        .boxed()
}

fn attributes() -> BoxedStrategy<Attributes> {
    let value = prop_oneof![
        text().prop_map(Attribute::Text),
        number().prop_map(Attribute::Scalar),
        ranges().prop_map(Attribute::Ranges),
        words().prop_map(Attribute::Set),
    ];
    btree_map(text(), value, 0..4).boxed()
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "[a-z]{1,5}[*+?]?".prop_map(|text| Pattern::new(&text).expect("is valid"))
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let rule = prop_oneof![
        Just(ConstraintRule::Exists),
        Just(ConstraintRule::Absent),
        words().prop_map(ConstraintRule::In),
        words().prop_map(ConstraintRule::NotIn),
        pattern().prop_map(ConstraintRule::Matches),
        pattern().prop_map(ConstraintRule::NotMatches),
    ];
    (text(), rule).prop_map(|(attribute, rule)| Constraint { attribute, rule })
}

fn exit() -> impl Strategy<Value = Exit> {
    (
        option::of(any::<i32>()),
        option::of(any::<i32>()),
        any::<bool>(),
        option::of(number()),
        span(),
    )
        .prop_map(|(code, signal, out_of_memory, peak, ran_for)| Exit {
            code,
            signal,
            out_of_memory,
            memory_peak: peak.map(Bytes),
            ran_for,
        })
}

fn of_words<T: Copy + std::fmt::Debug + 'static>(
    words: &'static [(&'static str, T)],
) -> impl Strategy<Value = T> {
    (0..words.len()).prop_map(move |index| words[index].1)
}

fn status() -> BoxedStrategy<TaskStatus> {
    let id = (agent_id(), number(), number()).prop_map(|(agent, incarnation, sequence)| StatusId {
        agent,
        incarnation: LogIncarnation(incarnation),
        sequence,
    });
    let identity = (option::of(id), framework_id(), named(), token(), agent_id());
    let state = (
        select(TaskState::ALL.to_vec()),
        of_words(StatusReason::WORDS),
        text(),
        option::of(exit()),
        option::of(any::<bool>()),
        moment(),
        of_words(IsolationLevel::WORDS),
    );
    (identity, state)
        .prop_map(
            |(
                (id, framework, task, token, agent),
                (state, reason, message, exit, ready, at, isolation),
            )| {
                TaskStatus {
                    id,
                    framework,
                    task,
                    token,
                    agent,
                    state,
                    reason,
                    message,
                    exit,
                    ready,
                    at,
                    isolation,
                }
            },
        )
        .boxed()
}

pub(crate) fn task_record() -> BoxedStrategy<TaskRecord> {
    let tail = (labels(), labels(), option::of(named()), named(), text());
    let tail = (tail, any::<i32>(), option::of(budget()), option::of(gang_id()));
    (status(), digest(), resources(), role(), tail)
        .prop_map(
            |(
                status,
                template,
                resources,
                role,
                ((variables, labels, group, agent_name, address), priority, budget, gang),
            )| {
                TaskRecord {
                    status,
                    template,
                    resources,
                    role,
                    variables,
                    labels,
                    group,
                    agent_name,
                    address,
                    priority,
                    budget,
                    gang,
                }
            },
        )
        .boxed()
}

fn framework_info() -> BoxedStrategy<FrameworkInfo> {
    (named(), roles(), text(), option::of(span()), labels())
        .prop_map(|(name, roles, api_url, failover_timeout, labels)| FrameworkInfo {
            name,
            roles,
            api_url,
            failover_timeout,
            labels,
        })
        .boxed()
}

fn agent_info() -> BoxedStrategy<AgentInfo> {
    let tail = (text(), of_words(IsolationLevel::WORDS), text(), any::<bool>());
    (named(), text(), text(), text(), resources(), attributes(), tail)
        .prop_map(|(name, hostname, address, api_url, resources, attributes, tail)| {
            let (version, isolation, boot_id, insecure) = tail;
            AgentInfo {
                name,
                hostname,
                address,
                api_url,
                resources,
                attributes,
                version,
                isolation,
                boot_id,
                insecure,
            }
        })
        .boxed()
}

fn role_config() -> impl Strategy<Value = RoleConfig> {
    let quantities = || {
        let name = prop_oneof![Just(ResourceName::Cpus), Just(ResourceName::Gpus)];
        btree_map(name, 0u64..3, 0..3)
            .prop_map(|map| Vec::from_iter(map).try_into().expect("each name once"))
    };
    (number(), quantities(), quantities()).prop_map(|(weight_milli, guarantee, limit)| RoleConfig {
        weight_milli,
        guarantee,
        limit,
    })
}

fn revocable_use() -> impl Strategy<Value = RevocableUse> {
    select(vec![RevocableUse::Refuse, RevocableUse::Accept, RevocableUse::Only])
}

fn demand_group() -> BoxedStrategy<DemandGroup> {
    let head = (named(), number(), role(), resources(), any::<bool>(), any::<u32>());
    let tail = (
        vec(constraint(), 0..3),
        any::<i32>(),
        option::of(any::<u32>()),
        any::<bool>(),
        any::<u32>(),
        option::of(span()),
        revocable_use(),
    );
    (head, tail)
        .prop_map(|((name, generation, role, shape, fixed_ports, target), tail)| {
            let (constraints, priority, per_agent_max, spread, gang_size, deadline, revocable) =
                tail;
            DemandGroup {
                name,
                generation: Generation(generation),
                role,
                shape,
                fixed_ports,
                target,
                constraints,
                priority,
                per_agent_max,
                spread,
                gang_size,
                deadline,
                revocable,
            }
        })
        .boxed()
}

fn check() -> impl Strategy<Value = Check> {
    let probe =
        prop_oneof![
            (text(), text(), vec(any::<u16>(), 0..3))
                .prop_map(|(port, path, status)| Probe::Http { port, path, status }),
            text().prop_map(|port| Probe::Tcp { port }),
            vec(text(), 0..3).prop_map(|command| Probe::Command { command }),
        ];
    let kind = select(vec![CheckKind::Startup, CheckKind::Ready, CheckKind::Alive]);
    (kind, probe, span(), span(), any::<u32>(), any::<u32>(), span()).prop_map(
        |(kind, probe, interval, timeout, failures, successes, limit)| Check {
            kind,
            probe,
            interval,
            timeout,
            failures,
            successes,
            limit,
        },
    )
}

fn container() -> BoxedStrategy<ContainerTemplate> {
    let rlimits = btree_map("[a-z]{2,6}", (number(), number()), 0..3);
    let log = (number(), any::<u32>())
        .prop_map(|(file_max, files)| LogPolicy { file_max: Bytes(file_max), files });
    let paths = (option::of(text()), option::of(text()), option::of(text()));
    let limits = (option::of(number()), rlimits, any::<bool>(), log);
    (text(), vec(text(), 0..4), paths, labels(), limits, vec(check(), 0..3))
        .prop_map(|(name, command, (user, root, workdir), env, limits, checks)| {
            let (pids_max, rlimits, cpu_limit, log) = limits;
            ContainerTemplate {
                name,
                command,
                user,
                root,
                workdir,
                env,
                pids_max,
                rlimits,
                cpu_limit,
                log,
                checks,
            }
        })
        .boxed()
}

fn kill_policy() -> impl Strategy<Value = KillPolicy> {
    (any::<i32>(), span()).prop_map(|(signal, grace)| KillPolicy { signal, grace })
}

pub(crate) fn pod_template() -> BoxedStrategy<PodTemplate> {
    let on_disconnect =
        prop_oneof![Just(OnDisconnect::Keep), span().prop_map(OnDisconnect::StopAfter)];
    (vec(container(), 0..3), kill_policy(), on_disconnect, labels())
        .prop_map(|(containers, kill, on_disconnect, labels)| PodTemplate {
            containers,
            kill,
            on_disconnect,
            labels,
        })
        .boxed()
}

fn budget() -> BoxedStrategy<Budget> {
    (named(), any::<u32>()).prop_map(|(name, min_available)| Budget { name, min_available }).boxed()
}

fn launch() -> BoxedStrategy<TaskLaunch> {
    let tail = (labels(), labels(), option::of(named()), any::<i32>(), option::of(budget()));
    (named(), token(), digest(), resources(), tail)
        .prop_map(|(name, token, template, resources, tail)| {
            let (variables, labels, group, priority, budget) = tail;
            TaskLaunch {
                name,
                token,
                template,
                resources,
                variables,
                labels,
                group,
                priority,
                budget,
            }
        })
        .boxed()
}

fn operation() -> BoxedStrategy<Operation> {
    prop_oneof![
        (agent_id(), vec(launch(), 0..3))
            .prop_map(|(agent, tasks)| Operation::Launch { agent, tasks }),
        (agent_id(), resources(), role(), option::of(principal()), labels(), reclaim()).prop_map(
            |(agent, resources, role, principal, labels, reclaim)| Operation::Reserve {
                agent,
                resources,
                role,
                principal,
                labels,
                reclaim,
            }
        ),
        (agent_id(), resources())
            .prop_map(|(agent, resources)| Operation::Unreserve { agent, resources }),
        (agent_id(), resources(), text(), any::<bool>(), reclaim()).prop_map(
            |(agent, resources, container_path, shared, reclaim)| Operation::CreateVolume {
                agent,
                resources,
                container_path,
                shared,
                reclaim,
            }
        ),
        (agent_id(), resources(), resources()).prop_map(|(agent, volume, addition)| {
            Operation::GrowVolume { agent, volume, addition }
        }),
        (agent_id(), resources())
            .prop_map(|(agent, resources)| Operation::DestroyVolume { agent, resources }),
    ]
    .boxed()
}

fn accept() -> BoxedStrategy<Accept> {
    let offers = vec((offer_id(), number().prop_map(AgentVersion)), 0..3);
    (number(), offers, vec(operation(), 0..3), span())
        .prop_map(|(accept, offers, operations, refuse_for)| Accept {
            accept,
            offers,
            operations,
            refuse_for,
        })
        .boxed()
}

fn state_key() -> impl Strategy<Value = String> {
    "[a-z/]{1,20}"
}

fn state_call() -> impl Strategy<Value = StateCall> {
    let change = (state_key(), option::of(number()), option::of(vec(any::<u8>(), 0..20)))
        .prop_map(|(key, expected, value)| StateChange { key, expected, value });
    prop_oneof![
        ("[a-z/]{0,8}", option::of(state_key()), any::<u32>())
            .prop_map(|(prefix, after, limit)| StateCall::List { prefix, after, limit }),
        vec(change, 0..4).prop_map(|changes| StateCall::Commit { changes }),
    ]
}

fn state_answer() -> impl Strategy<Value = StateAnswer> {
    let entry = (state_key(), number(), vec(any::<u8>(), 0..20))
        .prop_map(|(key, version, value)| StateEntry { key, version, value });
    prop_oneof![
        (vec(entry, 0..3), any::<bool>())
            .prop_map(|(entries, more)| StateAnswer::Page { entries, more }),
        vec(number(), 0..4).prop_map(|versions| StateAnswer::Committed { versions }),
        refusal().prop_map(StateAnswer::Refused),
    ]
}

fn inverse_offer_id() -> impl Strategy<Value = InverseOfferId> {
    (number(), number())
        .prop_map(|(epoch, sequence)| InverseOfferId { epoch: MasterEpoch(epoch), sequence })
}

fn vacate_reason() -> impl Strategy<Value = VacateReason> {
    prop_oneof![
        Just(VacateReason::Drain),
        (moment(), span(), text()).prop_map(|(start, duration, message)| {
            VacateReason::Maintenance { start, duration, message }
        }),
        (framework_id(), named(), role()).prop_map(|(framework, group, role)| {
            VacateReason::Preemption { framework, group, role }
        }),
    ]
}

fn inverse_offer() -> impl Strategy<Value = InverseOffer> {
    let head = (inverse_offer_id(), agent_id(), named());
    (head, vec(named(), 0..3), vacate_reason(), option::of(span())).prop_map(
        |((id, agent, agent_name), tasks, reason, deadline)| InverseOffer {
            id,
            agent,
            agent_name,
            tasks,
            reason,
            deadline,
        },
    )
}

fn vacating() -> impl Strategy<Value = Vacating> {
    let answer = prop_oneof![
        Just(InverseAnswer::None),
        Just(InverseAnswer::Accepted),
        text().prop_map(|reason| InverseAnswer::Declined { reason }),
    ];
    let holder = (framework_id(), any::<u32>(), answer)
        .prop_map(|(framework, tasks, answer)| VacateHolder { framework, tasks, answer });
    (vacate_reason(), option::of(span()), any::<bool>(), vec(holder, 0..3)).prop_map(
        |(reason, deadline, is_binding, holders)| Vacating {
            reason,
            deadline,
            is_binding,
            holders,
        },
    )
}

fn window_row() -> impl Strategy<Value = WindowRow> {
    let spans = (moment(), span(), span());
    (number(), of_words(WindowPhase::WORDS), spans, text()).prop_map(
        |(id, phase, (start, duration, lead), message)| WindowRow {
            id: WindowId(id),
            phase,
            start,
            duration,
            lead,
            message,
        },
    )
}

fn conditions() -> BoxedStrategy<OfferConditions> {
    let any_of = vec(vec(constraint(), 0..3), 0..3);
    let least = btree_map(select(vec!["cpus", "gpus"]), number(), 0..3).prop_map(|amounts| {
        let mut least = Quantities::new();
        for (name, value) in amounts {
            least.insert(name.parse().expect("a name"), value);
        }
        least
    });
    let minimum = vec(least, 0..3);
    let condition = (any_of, minimum, revocable_use())
        .prop_map(|(any_of, minimum, revocable)| OfferCondition { any_of, minimum, revocable });
    btree_map(role(), condition, 0..3).boxed()
}

fn call() -> BoxedStrategy<Call> {
    let except = btree_set(number(), 0..4);
    prop_oneof![
        (framework_info(), named(), any::<bool>(), conditions()).prop_map(
            |(info, replica, take_over, conditions)| Call::Subscribe {
                info,
                replica,
                take_over,
                conditions
            }
        ),
        conditions().prop_map(|conditions| Call::OfferConditions { conditions }),
        vec(budget(), 0..3).prop_map(|budgets| Call::Budgets { budgets }),
        vec(demand_group(), 0..3).prop_map(|groups| Call::Demand { groups }),
        (digest(), pod_template())
            .prop_map(|(digest, template)| Call::Template { digest, template }),
        accept().prop_map(Call::Accept),
        (vec(offer_id(), 0..3), span())
            .prop_map(|(offers, refuse_for)| Call::Decline { offers, refuse_for }),
        vec(offer_id(), 0..3).prop_map(|offers| Call::Renew { offers }),
        roles().prop_map(|roles| Call::Suppress { roles }),
        roles().prop_map(|roles| Call::Revive { roles }),
        (named(), option::of(kill_policy())).prop_map(|(task, policy)| Call::Kill { task, policy }),
        (agent_id(), number(), number(), except).prop_map(
            |(agent, incarnation, through, except)| Call::Acknowledge {
                agent,
                incarnation: LogIncarnation(incarnation),
                through,
                except,
            }
        ),
        vec(inverse_offer_id(), 0..3).prop_map(|offers| Call::AcceptInverseOffers { offers }),
        (vec(inverse_offer_id(), 0..3), text())
            .prop_map(|(offers, reason)| Call::DeclineInverseOffers { offers, reason }),
        Just(Call::Snapshot),
        (number(), state_call()).prop_map(|(request, call)| Call::State { request, call }),
        Just(Call::Teardown),
        Just(Call::Heartbeat),
    ]
    .boxed()
}

pub(crate) fn scheduler_up() -> impl Strategy<Value = SchedulerUp> {
    (number(), vec(call(), 0..5))
        .prop_map(|(epoch, calls)| SchedulerUp { epoch: FrameworkEpoch(epoch), calls })
}

pub(crate) fn offer() -> BoxedStrategy<Offer> {
    let head = (offer_id(), framework_id(), role(), agent_id(), named(), text(), number());
    let planned =
        (moment(), span()).prop_map(|(start, duration)| Unavailability { start, duration });
    let tail =
        (resources(), attributes(), option::of(named()), any::<u32>(), span(), option::of(planned));
    (head, tail)
        .prop_map(|((id, framework, role, agent, agent_name, address, version), tail)| {
            let (resources, attributes, group, count, expires_in, unavailability) = tail;
            Offer {
                id,
                framework,
                role,
                agent,
                agent_name,
                address,
                agent_version: AgentVersion(version),
                resources,
                attributes,
                group,
                count,
                expires_in,
                unavailability,
            }
        })
        .boxed()
}

fn absence() -> impl Strategy<Value = Absence> {
    prop_oneof![
        Just(Absence::Awaited),
        moment().prop_map(Absence::UnreachableSince),
        Just(Absence::Gone),
    ]
}

fn event() -> BoxedStrategy<Event> {
    let absent =
        || (agent_id(), absence()).prop_map(|(agent, absence)| AbsentAgent { agent, absence });
    prop_oneof![
        (framework_id(), number(), number(), span(), span(), vec(any::<u8>(), 0..33)).prop_map(
            |(framework, epoch, incarnation, heartbeat, offer_ttl, capability_key)| {
                Event::Subscribed {
                    framework,
                    epoch: FrameworkEpoch(epoch),
                    incarnation: Incarnation(incarnation),
                    heartbeat,
                    offer_ttl,
                    capability_key,
                }
            }
        ),
        named().prop_map(|active| Event::Standby { active }),
        vec(task_record(), 0..3).prop_map(|tasks| Event::SnapshotPage { tasks }),
        vec(absent(), 0..3).prop_map(|absent| Event::SnapshotAbsent { absent }),
        (cursor(), vec(absent(), 0..3))
            .prop_map(|(cursor, absent)| Event::SnapshotEnd { cursor, absent }),
        (agent_id(), option::of(absence()))
            .prop_map(|(agent, absence)| Event::AgentResolved { agent, absence }),
        vec(offer(), 0..3).prop_map(|offers| Event::Offers { offers }),
        (vec(offer_id(), 0..3), text())
            .prop_map(|(offers, reason)| Event::Rescinded { offers, reason }),
        (number(), option::of(refusal()), vec(hold_id(), 0..3))
            .prop_map(|(accept, refusal, holds)| Event::Accepted { accept, refusal, holds }),
        (agent_id(), hold(), option::of(hold_state()), text()).prop_map(
            |(agent, hold, state, message)| Event::Hold(HoldNews { agent, hold, state, message })
        ),
        vec((named(), number(), any::<u32>()), 0..3).prop_map(|groups| {
            let group = |(name, generation, unmet)| ExpiredGroup {
                name,
                generation: Generation(generation),
                unmet,
            };
            Event::DemandExpired { groups: groups.into_iter().map(group).collect() }
        }),
        vec(inverse_offer(), 0..3).prop_map(|offers| Event::InverseOffers { offers }),
        (vec(inverse_offer_id(), 0..3), text())
            .prop_map(|(offers, reason)| Event::InverseOffersRescinded { offers, reason }),
        status().prop_map(Event::Status),
        task_record().prop_map(|record| Event::Task(Box::new(record))),
        (number(), state_answer()).prop_map(|(request, answer)| Event::State { request, answer }),
        (text(), refusal()).prop_map(|(call, refusal)| Event::Refused { call, refusal }),
        named().prop_map(|by| Event::Superseded { by }),
        Just(Event::TornDown),
        Just(Event::Heartbeat),
    ]
    .boxed()
}

pub(crate) fn scheduler_down() -> impl Strategy<Value = SchedulerDown> {
    (number(), number(), vec(event(), 0..5)).prop_map(|(master_epoch, epoch, events)| {
        SchedulerDown {
            master_epoch: MasterEpoch(master_epoch),
            epoch: FrameworkEpoch(epoch),
            events,
        }
    })
}

fn agent_message() -> BoxedStrategy<AgentMessage> {
    let mark = (claim(), span()).prop_map(|(claim, left)| ClaimMark { claim, left });
    let task = (task_record(), any::<bool>(), option::of(mark))
        .prop_map(|(record, acknowledged, claim)| AgentTask { record, acknowledged, claim });
    let stages = select(vec![HoldStage::Applied, HoldStage::Removing, HoldStage::Lost]);
    let agent_hold = (hold(), stages).prop_map(|(hold, stage)| AgentHold { hold, stage });
    prop_oneof![
        (agent_info(), number(), any::<bool>()).prop_map(|(info, log, knows_gangs)| {
            AgentMessage::Register { info, log: LogIncarnation(log), knows_gangs }
        }),
        vec(task, 0..3).prop_map(|tasks| AgentMessage::Tasks { tasks }),
        vec(agent_hold, 0..3).prop_map(|holds| AgentMessage::Holds { holds }),
        (hold_id(), number(), option::of(refusal()))
            .prop_map(|(id, op, refusal)| AgentMessage::HoldDone { id, op, refusal }),
        Just(AgentMessage::RegisterEnd),
        vec(status(), 0..3).prop_map(|statuses| AgentMessage::Statuses { statuses }),
        Just(AgentMessage::Heartbeat),
        Just(AgentMessage::Leaving),
    ]
    .boxed()
}

pub(crate) fn agent_up() -> impl Strategy<Value = AgentUp> {
    (option::of(agent_id()), number(), number(), vec(agent_message(), 0..4)).prop_map(
        |(agent, session, master_epoch, messages)| AgentUp {
            agent,
            session: AgentSession(session),
            master_epoch: MasterEpoch(master_epoch),
            messages,
        },
    )
}

fn kill_cause() -> impl Strategy<Value = KillCause> {
    select(vec![
        KillCause::Framework,
        KillCause::Operator,
        KillCause::Drain,
        KillCause::Maintenance,
        KillCause::Preemption,
    ])
}

fn gang_id() -> impl Strategy<Value = GangId> {
    (number(), number())
        .prop_map(|(epoch, sequence)| GangId { epoch: MasterEpoch(epoch), sequence })
}

fn claim_id() -> impl Strategy<Value = ClaimId> {
    (number(), number())
        .prop_map(|(epoch, sequence)| ClaimId { epoch: MasterEpoch(epoch), sequence })
}

fn claim() -> impl Strategy<Value = Claim> {
    let head = (claim_id(), framework_id(), named(), role());
    (head, resources(), any::<bool>(), option::of(role())).prop_map(
        |((id, framework, group, role), resources, fixed_ports, creditor)| Claim {
            id,
            framework,
            group,
            role,
            resources,
            fixed_ports,
            creditor,
        },
    )
}

fn agent_order() -> BoxedStrategy<AgentOrder> {
    let agent_launch = (framework_id(), role(), launch())
        .prop_map(|(framework, role, launch)| AgentLaunch { framework, role, launch })
        .boxed();
    let to_prepare = agent_launch.clone();
    prop_oneof![
        (span(), span(), vec(any::<u8>(), 0..33)).prop_map(|(heartbeat, grant, capability_key)| {
            AgentOrder::Registered { heartbeat, grant, capability_key }
        }),
        (refusal(), any::<bool>())
            .prop_map(|(refusal, gone)| AgentOrder::Refused { refusal, gone }),
        span().prop_map(|grant| AgentOrder::Grant { grant }),
        (digest(), pod_template())
            .prop_map(|(digest, template)| AgentOrder::Template { digest, template }),
        vec(agent_launch, 0..3).prop_map(|tasks| AgentOrder::Launch { tasks }),
        (framework_id(), named(), option::of(kill_policy()), kill_cause()).prop_map(
            |(framework, task, policy, cause)| AgentOrder::Kill { framework, task, policy, cause }
        ),
        (framework_id(), number(), number(), btree_set(number(), 0..4)).prop_map(
            |(framework, incarnation, through, except)| AgentOrder::Acknowledge {
                framework,
                incarnation: LogIncarnation(incarnation),
                through,
                except,
            }
        ),
        framework_id().prop_map(|framework| AgentOrder::EndFramework { framework }),
        hold().prop_map(|hold| AgentOrder::ApplyHold { hold }),
        (hold_id(), number()).prop_map(|(id, op)| AgentOrder::RemoveHold { id, op }),
        (claim(), vec((framework_id(), named()), 0..3), span()).prop_map(
            |(claim, tasks, grace)| {
                let tasks = tasks.into_iter().map(|(framework, name)| TaskKey { framework, name });
                AgentOrder::Preempt { claim, tasks: tasks.collect(), grace }
            }
        ),
        claim_id().prop_map(|claim| AgentOrder::DropClaim { claim }),
        (gang_id(), vec(to_prepare, 0..3))
            .prop_map(|(gang, tasks)| AgentOrder::Prepare { gang, tasks }),
        gang_id().prop_map(|gang| AgentOrder::StartGang { gang }),
        (gang_id(), text()).prop_map(|(gang, why)| AgentOrder::AbortGang { gang, why }),
    ]
    .boxed()
}

pub(crate) fn agent_down() -> impl Strategy<Value = AgentDown> {
    (agent_id(), number(), number(), vec(agent_order(), 0..4)).prop_map(
        |(agent, session, master_epoch, orders)| AgentDown {
            agent,
            session: AgentSession(session),
            master_epoch: MasterEpoch(master_epoch),
            orders,
        },
    )
}

fn executor_status() -> BoxedStrategy<ExecutorStatus> {
    let known: Vec<TaskState> =
        TaskState::ALL.into_iter().filter(|state| ExecutorStatus::may_say(*state)).collect();
    let said = (select(known), of_words(StatusReason::WORDS), text());
    (1..=u64::MAX, named(), said, option::of(exit()), option::of(any::<bool>()), moment())
        .prop_map(|(sequence, task, (state, reason, message), exit, ready, at)| ExecutorStatus {
            sequence,
            task,
            state,
            reason,
            message,
            exit,
            ready,
            at,
        })
        .boxed()
}

fn executor_message() -> BoxedStrategy<ExecutorMessage> {
    let statuses = || vec(executor_status(), 0..3);
    prop_oneof![
        (text(), statuses(), vec(named(), 0..3)).prop_map(|(token, unacknowledged, tasks)| {
            ExecutorMessage::Subscribe { token: ExecutorToken(token), unacknowledged, tasks }
        }),
        statuses().prop_map(|statuses| ExecutorMessage::Statuses { statuses }),
        Just(ExecutorMessage::Heartbeat),
    ]
    .boxed()
}

pub(crate) fn executor_up() -> impl Strategy<Value = ExecutorUp> {
    (named(), number(), vec(executor_message(), 0..4)).prop_map(|(container, session, messages)| {
        ExecutorUp { container, agent_session: AgentSession(session), messages }
    })
}

fn executor_order() -> BoxedStrategy<ExecutorOrder> {
    prop_oneof![
        (framework_id(), agent_id(), text(), span(), span()).prop_map(
            |(framework, agent, sandbox, heartbeat, recovery_timeout)| ExecutorOrder::Subscribed {
                framework,
                agent,
                sandbox,
                heartbeat,
                recovery_timeout,
            }
        ),
        (launch(), pod_template()).prop_map(|(task, template)| ExecutorOrder::Launch {
            task: Box::new(task),
            template: Box::new(template),
        }),
        (named(), option::of(kill_policy()))
            .prop_map(|(task, policy)| ExecutorOrder::Kill { task, policy }),
        number().prop_map(|through| ExecutorOrder::Acknowledge { through }),
        span().prop_map(|grace| ExecutorOrder::Shutdown { grace }),
    ]
    .boxed()
}

pub(crate) fn executor_down() -> impl Strategy<Value = ExecutorDown> {
    (number(), vec(executor_order(), 0..4))
        .prop_map(|(session, orders)| ExecutorDown { agent_session: AgentSession(session), orders })
}

pub(crate) fn agent_row() -> BoxedStrategy<AgentRow> {
    let condition = of_words(AgentCondition::WORDS);
    let books = (resources(), resources(), resources());
    let tail = (number(), number(), books, any::<u32>());
    (
        agent_id(),
        agent_info(),
        condition,
        moment(),
        (tail, option::of(vacating()), vec(window_row(), 0..3), vec(claim_row(), 0..3)),
    )
        .prop_map(|(id, info, condition, since, (tail, vacating, windows, claims))| {
            let (session, version, (allocated, offered, total), tasks_active) = tail;
            AgentRow {
                id,
                info,
                condition,
                since,
                session: AgentSession(session),
                version: AgentVersion(version),
                allocated,
                offered,
                tasks_active,
                total,
                vacating,
                windows,
                claims,
            }
        })
        .boxed()
}

fn claim_row() -> impl Strategy<Value = ClaimRow> {
    let victim =
        (framework_id(), named()).prop_map(|(framework, name)| TaskKey { framework, name });
    (claim(), vec(victim, 0..3), moment()).prop_map(|(claim, victims, until)| {
        let Claim { id, framework, group, role, resources, creditor, .. } = claim;
        ClaimRow { id, framework, group, role, resources, creditor, victims, until }
    })
}

fn demand_row() -> BoxedStrategy<DemandRow> {
    (framework_id(), demand_group(), any::<u32>(), option::of(moment()))
        .prop_map(|(framework, group, unmet, waiting_since)| DemandRow {
            framework,
            group,
            unmet,
            waiting_since,
        })
        .boxed()
}

pub(crate) fn framework_row() -> BoxedStrategy<FrameworkRow> {
    let head = (
        framework_id(),
        framework_info(),
        principal(),
        any::<bool>(),
        named(),
        vec(named(), 0..3),
        number(),
        moment(),
    );
    let tail = (resources(), resources(), roles(), any::<u32>(), number(), number());
    (head, tail)
        .prop_map(|((id, info, principal, connected, replica, standbys, epoch, since), tail)| {
            let (allocated, offered, suppressed, tasks_active, bytes, keys) = tail;
            FrameworkRow {
                id,
                info,
                principal,
                connected,
                replica,
                standbys,
                epoch: FrameworkEpoch(epoch),
                since,
                allocated,
                offered,
                suppressed,
                tasks_active,
                state_bytes: bytes,
                state_keys: keys,
            }
        })
        .boxed()
}

pub(crate) fn role_row() -> BoxedStrategy<RoleRow> {
    let counted = (resources(), resources(), resources());
    (role(), role_config(), counted, number(), vec(framework_id(), 0..4))
        .prop_map(|(name, config, (allocated, consumed, owed), share, frameworks)| RoleRow {
            name,
            config,
            allocated,
            dominant_share_ppm: share,
            frameworks,
            consumed,
            owed,
        })
        .boxed()
}

fn task_key() -> impl Strategy<Value = TaskKey> {
    (framework_id(), named()).prop_map(|(framework, name)| TaskKey { framework, name })
}

pub(crate) fn change() -> BoxedStrategy<Change> {
    let event = (moment(), text(), text(), text())
        .prop_map(|(at, kind, subject, message)| EventRow { at, kind, subject, message });
    prop_oneof![
        agent_row().prop_map(Change::Agent),
        agent_id().prop_map(Change::AgentRemoved),
        framework_row().prop_map(Change::Framework),
        framework_id().prop_map(Change::FrameworkRemoved),
        task_record().prop_map(Change::Task),
        task_key().prop_map(Change::TaskRemoved),
        offer().prop_map(Change::Offer),
        offer_id().prop_map(Change::OfferRemoved),
        role_row().prop_map(Change::Role),
        hold_row().prop_map(Change::Hold),
        (agent_id(), hold_id()).prop_map(|(agent, id)| Change::HoldRemoved(HoldKey { agent, id })),
        event.prop_map(Change::Event),
        demand_row().prop_map(Change::Demand),
        (framework_id(), named())
            .prop_map(|(framework, group)| Change::DemandRemoved(DemandKey { framework, group })),
    ]
    .boxed()
}

pub(crate) fn explanation() -> impl Strategy<Value = Explanation> {
    let subject = prop_oneof![
        framework_id().prop_map(Subject::Framework),
        (framework_id(), named()).prop_map(|(framework, group)| Subject::Demand(framework, group)),
        task_key().prop_map(Subject::Task),
        agent_id().prop_map(Subject::Agent),
    ];
    let step = (text(), any::<u32>()).prop_map(|(rule, remaining)| FunnelStep { rule, remaining });
    (subject, text(), vec(step, 0..4), text(), vec(text(), 0..3)).prop_map(
        |(subject, summary, funnel, nearest_miss, hints)| Explanation {
            subject,
            summary,
            funnel,
            nearest_miss,
            hints,
        },
    )
}

pub(crate) fn overview() -> impl Strategy<Value = Overview> {
    let counts = || btree_map("[a-z]{1,8}", any::<u32>(), 0..4);
    let sums = (resources(), resources(), resources());
    (cursor(), sums, counts(), counts(), counts(), any::<u32>(), any::<u32>()).prop_map(
        |(cursor, (total, allocated, offered), agents, frameworks, tasks, offers, unmet)| {
            let (insecure, stale) = (unmet % 2 == 1, offers % 2 == 1);
            Overview {
                cursor,
                total,
                allocated,
                offered,
                agents,
                frameworks,
                tasks,
                offers,
                unmet,
                insecure,
                stale,
            }
        },
    )
}
