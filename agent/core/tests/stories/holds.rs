//! Reservations and volumes (K18): booked against the agent's own totals, durable before they are told,
//! wiped only when that is durable, and never made anew.

use crate::world::{World, config, launch_of, template};
use proffer_agent_core::Effect;
use proffer_types::agent::{AgentMessage, AgentOrder};
use proffer_types::hold::{AgentHold, Hold, HoldId, HoldKind, HoldStage, ReclaimPolicy};
use proffer_types::{
    PrincipalName, Refusal, RefusalCode, ReservationId, ResourceName, Resources, TaskState,
    VolumeId,
};
use std::collections::BTreeMap;

const VOLUME: VolumeId = VolumeId(2);

fn reservation(id: u64, resources: &str) -> Hold {
    Hold {
        id: HoldId::Reservation(ReservationId(id)),
        op: 1,
        resources: resources.parse().expect("legal"),
        kind: HoldKind::Reservation {
            role: "eng".parse().expect("legal"),
            labels: BTreeMap::new(),
        },
        owner: PrincipalName::new("ann").expect("legal"),
        framework: None,
        reclaim: ReclaimPolicy::Retain,
    }
}

fn volume(on: &Hold, bytes: u64, op: u64, shared: bool) -> Hold {
    let disk = on.held().filtered(|entry| entry.key.name == ResourceName::Disk);
    let mut entry = disk.entries()[0].clone();
    entry.quantity = proffer_types::Quantity::Scalar(bytes);
    Hold {
        id: HoldId::Volume(VOLUME),
        op,
        resources: Resources::from_entries(vec![entry]).expect("one"),
        kind: HoldKind::Volume { container_path: "data".to_owned(), shared },
        ..on.clone()
    }
}

fn answers(world: &World) -> Vec<(HoldId, u64, Option<Refusal>)> {
    let messages = world.frames.iter().flat_map(|frame| &frame.messages);
    messages
        .filter_map(|message| match message {
            AgentMessage::HoldDone { id, op, refusal } => Some((*id, *op, refusal.clone())),
            AgentMessage::Register { .. }
            | AgentMessage::Tasks { .. }
            | AgentMessage::Holds { .. }
            | AgentMessage::RegisterEnd
            | AgentMessage::Statuses { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => None,
        })
        .collect()
}

/// The holds of the newest registration.
fn listed(world: &World) -> Vec<AgentHold> {
    let mut list = Vec::new();
    for message in world.frames.iter().flat_map(|frame| &frame.messages) {
        match message {
            AgentMessage::Register { .. } => list.clear(),
            AgentMessage::Holds { holds } => list.extend(holds.iter().cloned()),
            AgentMessage::Tasks { .. }
            | AgentMessage::RegisterEnd
            | AgentMessage::Statuses { .. }
            | AgentMessage::HoldDone { .. }
            | AgentMessage::Heartbeat
            | AgentMessage::Leaving => {}
        }
    }
    list
}

fn apply(world: &mut World, hold: &Hold) -> Option<Refusal> {
    let before = answers(world).len();
    world.order(AgentOrder::ApplyHold { hold: hold.clone() });
    world.settle();
    let answers = answers(world);
    assert_eq!(answers.len(), before + 1, "each order is answered once");
    let (id, op, refusal) = answers.last().cloned().expect("one");
    assert_eq!((id, op), (hold.id, hold.op));
    refusal
}

fn remove(world: &mut World, id: HoldId, op: u64) -> Option<Refusal> {
    world.order(AgentOrder::RemoveHold { id, op });
    world.settle();
    answers(world).last().cloned().expect("answered").2
}

#[test]
fn k18_what_is_reserved_is_booked_as_such_and_a_launch_needs_it_as_it_is() {
    let mut world = World::ready("cpus:4;mem:1GiB;disk:1GiB");
    let one = reservation(1, "cpus:3;disk:1GiB");
    assert_eq!(apply(&mut world, &one), None);
    // A repeat is answered again and changes nothing.
    assert_eq!(apply(&mut world, &one), None);
    // What is not there any more as plain cpus starts nothing.
    world.launch(launch_of(&template(), 1, "cpus:2"));
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Error);
    let mut reserved = launch_of(&template(), 2, "cpus:3");
    reserved.launch.resources = one.held().filtered(|it| it.key.name == ResourceName::Cpus);
    world.launch(reserved);
    world.settle();
    assert_eq!(world.last(2).state, TaskState::Running);
    // It is in use: neither it nor what it takes is given away.
    let refused = remove(&mut world, one.id, 2).expect("in use");
    assert_eq!(refused.code, RefusalCode::ResourcesStale);
    let refused = apply(&mut world, &reservation(3, "cpus:2")).expect("only one is free");
    assert_eq!(refused.code, RefusalCode::ResourcesStale);
    assert_eq!(world.machine.checkpoint().holds.len(), 1);
}

#[test]
fn k18_nothing_is_told_before_it_is_durable_and_a_list_holds_what_is() {
    let mut world = World::ready("cpus:4;disk:1GiB");
    let one = reservation(1, "cpus:3;disk:1GiB");
    world.order(AgentOrder::ApplyHold { hold: one.clone() });
    assert_eq!(answers(&world), []);
    world.disconnect();
    // The process dies before the disk has it: no list has it, and the repeat makes it.
    world.restart(0);
    world.register();
    assert_eq!(listed(&world), []);
    assert_eq!(apply(&mut world, &one), None);
    world.restart(9);
    world.register();
    assert_eq!(listed(&world), [AgentHold { hold: one, stage: HoldStage::Applied }]);
}

#[test]
fn k18_a_volume_keeps_its_data_over_crashes_and_boots_until_its_end_is_durable() {
    let mut world = World::ready("cpus:4;disk:1GiB");
    let one = reservation(1, "disk:1GiB");
    apply(&mut world, &one);
    assert_eq!(apply(&mut world, &volume(&one, 1 << 20, 1, false)), None);
    let data = world.machine.volumes()[&VOLUME];
    let (checkpoint, found) = world.machine.reboot(9);
    world.config.info.boot_id = "boot-2".to_owned();
    world.recover(checkpoint, &found);
    world.register();
    // It grows, and stays what it was.
    assert_eq!(apply(&mut world, &volume(&one, 2 << 20, 2, false)), None);
    assert_eq!(world.machine.volumes()[&VOLUME], data);
    assert_eq!(world.agent.total().scalar(&ResourceName::Disk), 1 << 30);
    // Its reservation has no room to go from under it.
    let refused = remove(&mut world, one.id, 2).expect("the volume is on it");
    assert_eq!(refused.code, RefusalCode::ResourcesStale);
    // The order to destroy it alone wipes nothing: the process may die before it is durable.
    world.order(AgentOrder::RemoveHold { id: HoldId::Volume(VOLUME), op: 3 });
    assert_eq!(world.machine.volumes()[&VOLUME], data);
    world.restart(0);
    world.register();
    assert_eq!(listed(&world).len(), 2);
    assert_eq!(remove(&mut world, HoldId::Volume(VOLUME), 3), None);
    assert!(world.machine.volumes().is_empty());
    assert_eq!(remove(&mut world, HoldId::Volume(VOLUME), 3), None, "a repeat is answered again");
    assert_eq!(remove(&mut world, one.id, 2), None);
    assert_eq!(world.machine.checkpoint().holds, BTreeMap::new());
}

#[test]
fn k18_a_volume_whose_directory_is_gone_is_lost_and_never_made_anew() {
    let mut world = World::ready("cpus:4;disk:1GiB");
    let one = reservation(1, "disk:1GiB");
    apply(&mut world, &one);
    let two = volume(&one, 1 << 20, 1, false);
    apply(&mut world, &two);
    world.machine.lose_volume(VOLUME);
    world.restart(9);
    world.register();
    let stages: Vec<HoldStage> = listed(&world).iter().map(|it| it.stage).collect();
    assert_eq!(stages, [HoldStage::Applied, HoldStage::Lost]);
    world.learn(&template());
    let mut task = launch_of(&template(), 1, "cpus:1");
    task.launch.resources = task.launch.resources.checked_add(&two.held()).expect("apart");
    world.launch(task);
    world.settle();
    assert_eq!(world.last(1).state, TaskState::Error);
    let grown = apply(&mut world, &volume(&one, 2 << 20, 2, false)).expect("refused");
    assert_eq!(grown.code, RefusalCode::Unavailable);
    assert!(world.machine.volumes().is_empty());
    // Forgetting it is what an operator may want.
    assert_eq!(remove(&mut world, HoldId::Volume(VOLUME), 2), None);
}

#[test]
fn k18_an_exclusive_volume_has_one_task_at_a_time_a_shared_one_several() {
    for (shared, states) in
        [(false, [TaskState::Running, TaskState::Error]), (true, [TaskState::Running; 2])]
    {
        let mut world = World::ready("cpus:4;disk:1GiB");
        let one = reservation(1, "disk:1GiB");
        apply(&mut world, &one);
        let two = volume(&one, 1 << 20, 1, shared);
        apply(&mut world, &two);
        let mut mounted = 0;
        for number in 1..=2 {
            let mut task = launch_of(&template(), number, "cpus:1");
            task.launch.resources = task.launch.resources.checked_add(&two.held()).expect("apart");
            let effects = {
                world.launch(task);
                world.settle();
                &world.machine
            };
            mounted +=
                usize::from(effects.running().len() == usize::try_from(number).expect("few"));
        }
        assert_eq!([world.last(1).state, world.last(2).state], states);
        assert_eq!(mounted, if shared { 2 } else { 1 });
        let refused = remove(&mut world, HoldId::Volume(VOLUME), 2).expect("it is in use");
        assert_eq!(refused.code, RefusalCode::InUse);
        assert_eq!(world.machine.volumes().len(), 1);
    }
}

/// What a master wants, in order; each is asked for again until it is answered.
fn wishes() -> Vec<AgentOrder> {
    let one = reservation(1, "cpus:2;disk:1GiB");
    let changed = Hold {
        op: 2,
        kind: HoldKind::Reservation {
            role: "ops".parse().expect("legal"),
            labels: BTreeMap::from([("for".to_owned(), "db".to_owned())]),
        },
        ..one.clone()
    };
    vec![
        AgentOrder::ApplyHold { hold: one },
        AgentOrder::ApplyHold { hold: changed.clone() },
        AgentOrder::ApplyHold { hold: volume(&changed, 1 << 20, 1, false) },
        AgentOrder::ApplyHold { hold: volume(&changed, 2 << 20, 2, false) },
        AgentOrder::RemoveHold { id: HoldId::Volume(VOLUME), op: 3 },
        AgentOrder::RemoveHold { id: changed.id, op: 3 },
    ]
}

fn named(order: &AgentOrder) -> Option<(HoldId, u64)> {
    match order {
        AgentOrder::ApplyHold { hold } => Some((hold.id, hold.op)),
        AgentOrder::RemoveHold { id, op } => Some((*id, *op)),
        AgentOrder::Registered { .. }
        | AgentOrder::Refused { .. }
        | AgentOrder::Grant { .. }
        | AgentOrder::Template { .. }
        | AgentOrder::Launch { .. }
        | AgentOrder::Prepare { .. }
        | AgentOrder::StartGang { .. }
        | AgentOrder::AbortGang { .. }
        | AgentOrder::Kill { .. }
        | AgentOrder::Acknowledge { .. }
        | AgentOrder::Preempt { .. }
        | AgentOrder::DropClaim { .. }
        | AgentOrder::EndFramework { .. } => None,
    }
}

/// What was answered is on the disk.
fn check_told(world: &World, from: usize) {
    let holds = &world.machine.checkpoint().holds;
    for (id, op, refusal) in &answers(world)[from..] {
        assert_eq!(*refusal, None, "{id} {op}");
        let removes = *op == 3;
        match holds.get(id) {
            Some(record) => assert!(!removes && record.hold.op >= *op, "{id} {op}: {record:?}"),
            None => assert!(removes, "{id} {op} was told and is not there"),
        }
    }
}

/// The process dies after `dies_after` writes and facts of this wish, with `durable` more of its writes.
fn carry_out(world: &mut World, wish: &AgentOrder, dies_after: usize, durable: usize) {
    let from = answers(world).len();
    world.order(wish.clone());
    for _ in 0..dies_after {
        if let Some(written) = world.machine.flush(1) {
            world.apply(written);
        } else if !world.facts.is_empty() {
            let fact = world.facts.remove(0);
            world.apply(fact);
        }
        check_told(world, from);
    }
    world.restart(durable);
    world.register();
    let from = answers(world).len();
    world.order(wish.clone());
    world.settle();
    let answers = answers(world);
    let (id, op) = named(wish).expect("a wish names a hold");
    let told = answers[from..].contains(&(id, op, None));
    // What was being wiped when the process died is answered by its end.
    assert!(told, "{id} {op} is not answered: {:?}", &answers[from..]);
    check_told(world, from);
}

#[test]
fn k18_a_crash_at_each_write_and_between_any_two_steps_loses_and_doubles_nothing() {
    for dies_after in 0..6 {
        for durable in 0..3 {
            let mut world = World::new(config("cpus:4;disk:1GiB"));
            world.register();
            let mut data = None;
            for (index, wish) in wishes().iter().enumerate() {
                carry_out(&mut world, wish, dies_after, durable);
                let kept = world.machine.volumes().get(&VOLUME).copied();
                match index {
                    2 => data = kept,
                    3 => assert_eq!((kept, data.is_some()), (data, true), "the data are the same"),
                    _ => assert_eq!(kept, None),
                }
            }
            assert_eq!(world.machine.checkpoint().holds, BTreeMap::new());
            assert_eq!(world.agent.total().to_string(), "cpus:4;disk:1GiB");
        }
    }
}

#[test]
fn what_is_told_of_a_repeat_is_not_overtaken_by_the_wipe() {
    let mut world = World::ready("cpus:4;disk:1GiB");
    let one = reservation(1, "disk:1GiB");
    apply(&mut world, &one);
    apply(&mut world, &volume(&one, 1 << 20, 1, false));
    let before = answers(&world).len();
    let id = HoldId::Volume(VOLUME);
    world.order(AgentOrder::RemoveHold { id, op: 2 });
    world.order(AgentOrder::RemoveHold { id, op: 2 });
    let written = world.machine.flush(9).expect("it is being written");
    let effects = world.apply(written);
    assert!(effects.contains(&Effect::WipeVolume { volume: VOLUME }));
    assert_eq!(answers(&world).len(), before, "not before the data are gone");
    world.settle();
    assert_eq!(answers(&world).len(), before + 1);
}
