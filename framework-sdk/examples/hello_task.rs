//! The smallest framework: runs one task, says how it ended, and leaves.
//! `proffer dev` in one terminal, `cargo run -p proffer-sdk --example hello_task` in another.
#![allow(clippy::wildcard_enum_match_arm, clippy::print_stdout, reason = "an example prints")]

use proffer_sdk::types::{FrameworkName, Now, Resources, RoleName, TaskName};
use proffer_sdk::{Context, Framework, FrameworkEvent, Options, TaskRequest, Template};
use proffer_sdk::{FrameworkInfo, run};

struct Hello;

impl Framework for Hello {
    type Input = ();

    fn info(&self) -> FrameworkInfo {
        FrameworkInfo::new(FrameworkName::new("hello").expect("valid"), role())
    }

    fn handle(&mut self, event: FrameworkEvent<()>, _now: Now, ctx: &mut Context) {
        match event {
            FrameworkEvent::Active { .. } if ctx.tasks().is_empty() => {
                let template = Template::command(["/bin/echo", "hello from ${agent.name}"]);
                let needs: Resources = "cpus:0.1;mem:32MiB".parse().expect("valid");
                let name = TaskName::new("hello").expect("valid");
                let request = TaskRequest::new(name, template.expect("valid"), role(), needs);
                ctx.launch(request).expect("active, and the name is free");
            }
            FrameworkEvent::Task { task, .. } => {
                println!("{} is {:?} on {}", task.name(), task.state(), task.record.agent_name);
                if !task.is_live() {
                    ctx.teardown();
                }
            }
            _ => {}
        }
    }
}

fn role() -> RoleName {
    RoleName::new("hello").expect("valid")
}

#[tokio::main]
async fn main() -> Result<(), proffer_sdk::EnvironmentError> {
    run(Hello, Options::from_env()?).ended().await;
    Ok(())
}
