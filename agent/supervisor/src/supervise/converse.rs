//! Owns the conversation: what each frame asks of the container and what is answered.

use std::os::fd::AsFd as _;

use proffer_supervisor::run_dir::{self, SPEC};
use proffer_supervisor::wire::{
    self, Body, Done, ExecOutcome, ExitOutcome, Frame, KillPolicy, LaunchSpec, Phase, Refused,
    Status, StopCause,
};

use super::{Supervisor, Task, failure};
use crate::exec::{self, Exec};
use crate::image::Image;
use crate::server::ConnectionId;
use crate::sys;

impl Supervisor {
    pub(super) fn receive(&mut self) {
        let ids: Vec<ConnectionId> = self.server.connections().iter().map(|c| c.id).collect();
        for id in ids {
            let frames = self.server.connection(id).map(|c| c.receive()).unwrap_or_default();
            for frame in frames {
                self.handle(id, frame);
            }
        }
    }

    fn handle(&mut self, from: ConnectionId, frame: Frame) {
        let id = frame.request_id;
        let answer = match frame.body {
            Some(Body::Hello(hello)) => {
                if let Some(connection) = self.server.connection(from) {
                    connection.watching |= hello.watch;
                }
                Some(Body::Status(self.status()))
            }
            Some(Body::Go(_)) => self.go(from, id),
            Some(Body::Signal(signal)) => Some(self.signal(signal.signal)),
            Some(Body::Kill(kill)) => Some(self.kill(kill.policy)),
            Some(Body::Grant(grant)) => {
                let latest = grant.granted_boottime_ns.min(sys::boottime_ns());
                self.granted_ns = self.granted_ns.max(latest);
                Some(Body::Done(Done {}))
            }
            Some(Body::Exec(request)) => self.exec(from, id, &request),
            _ => Some(refused("bad_request", "this frame asks for nothing known here")),
        };
        if let Some(body) = answer {
            self.answer(from, id, body);
        }
    }

    pub(super) fn answer(&mut self, to: ConnectionId, request_id: u64, body: Body) {
        if let Some(connection) = self.server.connection(to) {
            connection.send(request_id, body);
        }
    }

    pub(super) fn announce(&mut self) {
        let body = Body::Status(self.status());
        self.server.announce(&body);
    }

    fn status(&self) -> Status {
        Status {
            container_id: self.facts.container_id.clone(),
            phase: self.phase as i32,
            supervisor_pid: std::process::id(),
            pid: self.task.as_ref().map_or(0, |t| t.pid as u32),
            started_boottime_ns: self.started_ns,
            exit: self.exit.clone(),
            failure: None,
            supervisor_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn go(&mut self, from: ConnectionId, request_id: u64) -> Option<Body> {
        if self.phase != Phase::Prepared {
            return Some(Body::Done(Done {}));
        }
        self.granted_ns = sys::boottime_ns();
        match self.container.start() {
            Ok(spawned) => {
                let report = Some(spawned.report);
                let (pid, pidfd) = (spawned.pid, spawned.pidfd);
                self.no_children = false;
                self.task = Some(Task { pid, pidfd, report, failed: None });
                self.phase = Phase::Launching;
                self.go_asked = Some((from, request_id));
                None
            }
            Err(failed) => {
                self.outcome =
                    Some((ExitOutcome::LaunchFailure(failure(&failed)), sys::boottime_ns()));
                self.phase = Phase::Ending;
                self.kill_everything();
                Some(Body::Done(Done {}))
            }
        }
    }

    fn signal(&self, signal: i32) -> Body {
        if !(1..=64).contains(&signal) {
            return refused("bad_request", "there is no such signal");
        }
        match &self.task {
            Some(task) if self.is_live() => {
                match sys::pidfd_send_signal(task.pidfd.as_fd(), signal) {
                    Ok(()) => Body::Done(Done {}),
                    Err(e) => refused("no_process", &e.to_string()),
                }
            }
            _ => refused("wrong_phase", "the task does not run"),
        }
    }

    fn kill(&mut self, policy: Option<KillPolicy>) -> Body {
        let policy = policy.unwrap_or(self.facts.kill_policy);
        if !(1..=64).contains(&policy.signal) {
            return refused("bad_request", "there is no such signal");
        }
        match self.phase {
            // Withdraws in this turn.
            Phase::Prepared => self.go_deadline_ns = 0,
            Phase::Launching | Phase::Running => {
                self.begin_kill(policy, StopCause::KillRequested);
            }
            Phase::Unknown | Phase::Ending | Phase::Ended | Phase::Failed => {}
        }
        Body::Done(Done {})
    }

    fn exec(&mut self, from: ConnectionId, id: u64, request: &wire::Exec) -> Option<Body> {
        if self.phase != Phase::Running {
            return Some(refused("wrong_phase", "the task does not run"));
        }
        if self.execs.len() >= exec::EXECS_MAX {
            return Some(refused("busy", "too many commands run in this container"));
        }
        // Read again rather than kept: an environment can be larger than all else here.
        let spec = run_dir::read::<LaunchSpec>(SPEC.as_ref());
        let image = spec.and_then(|s| Image::new(&request.argv, &s.env, &request.env));
        let image = match image {
            Ok(image) => image,
            Err(e) => return Some(refused("bad_request", &e.to_string())),
        };
        match self.container.spawn_command(&image) {
            Ok((spawned, output)) => {
                let (pid, pidfd, report) = (spawned.pid, spawned.pidfd, spawned.report);
                let started = exec::Started { pid, pidfd, output, report };
                let timeout = (request.timeout_ns > 0).then_some(request.timeout_ns);
                let deadline = timeout.map(|t| sys::boottime_ns().saturating_add(t));
                let kept_max = request.output_bytes_max;
                self.execs.push(Exec::new((from, id), started, kept_max, deadline));
                None
            }
            Err(failed) => {
                let outcome = ExecOutcome::LaunchFailure(failure(&failed));
                Some(Body::ExecResult(wire::ExecResult {
                    outcome: Some(outcome),
                    ..Default::default()
                }))
            }
        }
    }

    pub(super) fn answer_execs(&mut self) {
        let mut results = Vec::new();
        self.execs.retain_mut(|exec| match exec.result(&mut self.buffer) {
            Some(result) => {
                results.push((exec.connection, exec.request_id, result));
                false
            }
            None => true,
        });
        for (connection, request_id, result) in results {
            self.answer(connection, request_id, Body::ExecResult(result));
        }
    }
}

fn refused(code: &str, message: &str) -> Body {
    Body::Refused(Refused { code: code.to_owned(), message: message.to_owned() })
}
