//! A cluster in memory for unit tests of frameworks.
//!
//! [`Bench`] puts a framework, the SDK's protocol machine and a [`FakeMaster`] with its agents
//! together. There are no threads, and no time that passes by itself: a test adds agents, lets
//! everything settle, moves tasks and the clock, cuts the connection or ends a process, and looks at
//! what came of it. After every step the bench checks what must hold on the framework's side, and
//! that the master saw nothing it must never see, such as a name launched while it may still run.
//!
//! ```
//! use proffer_sdk::testing::Bench;
//! use proffer_sdk::types::{FrameworkName, Now, RoleName, TaskName, TaskState};
//! use proffer_sdk::{Context, Framework, FrameworkEvent, FrameworkInfo, TaskRequest, Template};
//!
//! /// Keeps one task running.
//! struct KeepOne;
//!
//! impl Framework for KeepOne {
//!     type Input = ();
//!
//!     fn info(&self) -> FrameworkInfo {
//!         let role = RoleName::new("web").unwrap();
//!         FrameworkInfo::new(FrameworkName::new("keep-one").unwrap(), role)
//!     }
//!
//!     fn handle(&mut self, event: FrameworkEvent<()>, _now: Now, ctx: &mut Context) {
//!         let is_missing = match event {
//!             FrameworkEvent::Active { .. } => ctx.tasks().is_empty(),
//!             FrameworkEvent::Task { task, retried, .. } => !task.is_live() && !retried,
//!             _ => false,
//!         };
//!         if is_missing {
//!             let name = TaskName::new("the-one").unwrap();
//!             let template = Template::command(["/bin/sleep", "inf"]).unwrap();
//!             let (role, needs) = (RoleName::new("web").unwrap(), "cpus:1;mem:64MiB");
//!             ctx.launch(TaskRequest::new(name, template, role, needs.parse().unwrap())).unwrap();
//!         }
//!     }
//! }
//!
//! let mut bench = Bench::new(KeepOne);
//! let agent = bench.agent("one", "cpus:2;mem:1GiB");
//! bench.settle();
//! assert_eq!(bench.live(), [("the-one".to_owned(), agent, TaskState::Taken)]);
//!
//! // It fails, and is started again.
//! bench.run_all();
//! bench.task_becomes("the-one", TaskState::Failed);
//! assert_eq!(bench.live(), [("the-one".to_owned(), agent, TaskState::Taken)]);
//! assert_eq!(bench.master().launched().len(), 2);
//!
//! // The process ends and another one starts: it finds the task and starts nothing.
//! bench.restart(KeepOne);
//! bench.settle();
//! assert_eq!(bench.master().launched().len(), 2);
//! ```

pub use proffer_sdk_core::testing::{Bench, FakeMaster, HEARTBEAT, OFFER_TTL};
