//! Runs a command N times to completion: each item once, failed ones again a little later, whatever
//! ends or is cut on the way. Kill it and start it again, or start several: one works, the others stand by.
//! `cargo run -p proffer-sdk --example run_to_completion -- 20 /bin/sh -c 'sleep 1; echo ${item}'`
#![allow(clippy::wildcard_enum_match_arm, clippy::print_stdout, reason = "an example prints")]

use proffer_sdk::types::{DurationMs, FrameworkName, Monotonic, Now};
use proffer_sdk::types::{Resources, RoleName, TaskName, TaskState};
use proffer_sdk::{Context, Framework, FrameworkEvent, FrameworkInfo, Options, StateWrite};
use proffer_sdk::{TaskRequest, Template, run};

/// One bit an item: all that must be remembered. What runs is told by the snapshot.
const DONE: &str = "done";

pub(crate) struct RunToCompletion {
    pub(crate) count: usize,
    pub(crate) template: Template,
    pub(crate) resources: Resources,
    pub(crate) role: RoleName,
    pub(crate) again_at: Option<Monotonic>,
}

impl RunToCompletion {
    fn launch_missing(&mut self, ctx: &mut Context) {
        self.again_at = None;
        let done = self.done(ctx);
        for item in (0..self.count).filter(|item| !is_set(&done, *item)) {
            let (name, template, role) = (task(item), self.template.clone(), self.role.clone());
            if !ctx.is_taken(&name) {
                let request = TaskRequest::new(name, template, role, self.resources.clone());
                // The SDK holds it back while an absent agent could still run a task of that name.
                ctx.launch(request.variable("item", item.to_string())).expect("its name is free");
            }
        }
    }

    fn done(&self, ctx: &Context) -> Vec<u8> {
        let mut done = ctx.state(DONE).map(<[u8]>::to_vec).unwrap_or_default();
        done.resize(self.count.div_ceil(8), 0);
        done
    }
}

impl Framework for RunToCompletion {
    type Input = ();

    fn info(&self) -> FrameworkInfo {
        let name = FrameworkName::new("to-completion").expect("is a name");
        FrameworkInfo::new(name, self.role.clone())
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.again_at
    }

    fn handle(&mut self, event: FrameworkEvent<()>, now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Active { .. } | FrameworkEvent::Timer => self.launch_missing(ctx),
            FrameworkEvent::Task { task, retried: false, .. } if !task.is_live() => {
                println!("{}: {:?}", task.name(), task.state());
                let item =
                    task.name().as_str().strip_prefix("item-").and_then(|it| it.parse().ok());
                let Some(item) = item.filter(|it| *it < self.count) else { return };
                let mut done = self.done(ctx);
                if task.state() == TaskState::Finished || is_set(&done, item) {
                    done[item / 8] |= 1 << (item % 8);
                    // The end of the task is acknowledged when this is durable, not before.
                    ctx.commit(vec![StateWrite::put(DONE, done)], 0).expect("active, and small");
                } else {
                    self.again_at.get_or_insert(now.monotonic.after(DurationMs::from_secs(1)));
                }
            }
            _ => {}
        }
        let done = self.done(ctx);
        if ctx.is_active() && (0..self.count).all(|item| is_set(&done, item)) {
            ctx.teardown();
        }
    }
}

fn task(item: usize) -> TaskName {
    TaskName::new(&format!("item-{item}")).expect("letters and digits")
}

fn is_set(bits: &[u8], item: usize) -> bool {
    bits[item / 8] & (1 << (item % 8)) != 0
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().ok_or("usage: run_to_completion COUNT COMMAND…")?.parse()?;
    let template = Template::command(arguments)?;
    let (resources, role) = ("cpus:0.1;mem:32MiB".parse()?, RoleName::new("batch")?);
    let all = RunToCompletion { count, template, resources, role, again_at: None };
    run(all, Options::from_env()?).ended().await;
    Ok(())
}
