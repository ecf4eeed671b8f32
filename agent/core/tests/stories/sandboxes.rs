//! Stories of what is left on disk: by age, by count, through restarts.

use crate::world::{World, config, container, launch, template};
use proffer_agent_core::container::{Outcome, StopCause};
use proffer_agent_core::{Effect, model};
use proffer_types::units::DurationMs;

fn run_to_end(world: &mut World, number: u64) {
    world.launch(launch(number));
    world.settle();
    let exit = model::exit(Outcome::Code(0), StopCause::Itself);
    world.facts = world.machine.end(&container(number), exit);
    world.settle();
}

fn small() -> World {
    let mut config = config("cpus:4;mem:1GiB");
    config.limits.sandbox_count_max = 2;
    config.limits.sandbox_age_max = DurationMs::from_secs(60);
    let mut world = World::new(config);
    world.register();
    world.learn(&template());
    world
}

#[test]
fn old_sandboxes_go_by_count_and_by_age_and_live_ones_stay() {
    let mut world = small();
    world.launch(launch(9));
    world.settle();
    for number in 1..=3 {
        run_to_end(&mut world, number);
    }
    assert_eq!(world.machine.sandbox_count(), 3, "I15: two ended ones and the live one");
    assert!(!world.machine.checkpoint().sandboxes.contains_key(&container(1)), "oldest first");
    world.pass(61_000);
    world.settle();
    assert_eq!(world.machine.sandbox_count(), 1, "the live one has no age");
}

#[test]
fn a_restart_counts_ages_anew_and_removes_what_nobody_knows() {
    let mut world = small();
    run_to_end(&mut world, 1);
    world.pass(50_000);
    let (checkpoint, mut found) = world.machine.crash(9);
    found.sandboxes.push(container(77));
    world.recover(checkpoint, &found);
    let effects = world
        .agent
        .apply(proffer_agent_core::Command::DeadlineReached, crate::world::at(world.now));
    world.perform(&effects);
    assert_eq!(world.machine.sandbox_count(), 1, "I14: its age began anew");
    world.register();
    world.pass(61_000);
    world.settle();
    assert_eq!(world.machine.sandbox_count(), 0);
    assert!(world.machine.checkpoint().sandboxes.is_empty());
}

#[test]
fn unknown_sandboxes_are_removed_at_the_start() {
    let mut world = small();
    let (checkpoint, mut found) = world.machine.crash(9);
    found.sandboxes.push(container(77));
    let (_, effects) = proffer_agent_core::Agent::recover(
        checkpoint,
        &found,
        world.config.clone(),
        crate::world::at(0),
    );
    assert!(effects.contains(&Effect::RemoveSandbox { container: container(77) }));
}
