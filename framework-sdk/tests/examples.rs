//! The example that README and documentation show, run on the bench: it must be correct, not only
//! short.
#![expect(dead_code, reason = "the example's own main is not called here")]

#[path = "../examples/run_to_completion.rs"]
mod run_to_completion;

use proffer_sdk::testing::Bench;
use proffer_sdk::types::{DurationMs, RoleName, TaskState};
use proffer_sdk::{Standing, Template};
use run_to_completion::RunToCompletion;

fn framework(count: usize) -> RunToCompletion {
    RunToCompletion {
        count,
        template: Template::command(["/bin/echo", "${item}"]).expect("valid"),
        resources: "cpus:1;mem:64MiB".parse().expect("valid"),
        role: RoleName::new("batch").expect("valid"),
        again_at: None,
    }
}

/// Runs everything that has a place to its end.
fn finish_all(bench: &mut Bench<RunToCompletion>, state: TaskState) {
    bench.run_all();
    for (name, _, _) in bench.live() {
        bench.task_becomes(&name, state);
    }
}

#[test]
fn every_item_runs_once_and_the_framework_ends() {
    let mut bench = Bench::new(framework(10));
    bench.agent("one", "cpus:4;mem:8GiB");
    bench.settle();
    assert_eq!(bench.live().len(), 4, "as many as there is room for");
    while !bench.live().is_empty() {
        finish_all(&mut bench, TaskState::Finished);
    }
    assert_eq!(bench.master().launched().len(), 10);
    assert!(bench.master().is_torn_down());
    assert_eq!(bench.status().standing, Standing::Ended);
}

#[test]
fn a_failed_item_runs_again_after_a_pause() {
    let mut bench = Bench::new(framework(1));
    bench.agent("one", "cpus:4;mem:8GiB");
    bench.settle();
    finish_all(&mut bench, TaskState::Failed);
    assert_eq!(bench.live().len(), 0, "a command that always fails does not keep the cluster busy");
    bench.advance(DurationMs::from_secs(1));
    assert_eq!(bench.live().len(), 1);
    finish_all(&mut bench, TaskState::Finished);
    assert!(bench.master().is_torn_down());
}

#[test]
fn nothing_runs_twice_when_processes_and_masters_end() {
    let mut bench = Bench::new(framework(6));
    bench.agent("one", "cpus:2;mem:8GiB");
    bench.agent("two", "cpus:2;mem:8GiB");
    bench.settle();
    bench.run_all();
    bench.task_becomes("item-0", TaskState::Finished);
    bench.restart(framework(6));
    bench.settle();
    bench.fail_over();
    bench.restart(framework(6));
    for agent in bench.master().agents() {
        bench.master().return_agent(agent);
        bench.settle();
    }
    while !bench.live().is_empty() {
        finish_all(&mut bench, TaskState::Finished);
    }
    assert_eq!(bench.master().launched().len(), 6, "I2");
    assert!(bench.master().is_torn_down());
}
