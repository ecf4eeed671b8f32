//! One file a command: its checks first, the change second, effects last.

mod accept_offers;
mod acknowledge;
mod agent_frame;
mod agent_mode;
mod agent_statuses;
mod agent_timed_out;
mod connection_closed;
mod deadlines_reached;
mod decline_offers;
mod demand;
mod end_framework;
mod framework_session;
mod kill_task;
mod launch_tasks;
mod lead;
mod mark_agent_gone;
mod occupancy;
mod operator;
mod recover;
mod register_agent;
mod registry_written;
mod renew_offers;
mod replica_disconnected;
mod scheduler_frame;
mod set_role;
mod state_store;
mod subscribe_framework;
mod suppress_revive;
mod take_back_agent;
mod task_changes;
mod templates;

pub use take_back_agent::capability_key;
