//! Framework processes of the world.

use super::*;
use crate::sim::node_framework::{AnyDriver, Kind};

impl World {
    pub(super) fn start_framework(&mut self, node: usize) {
        // An impostor needs a victim: before there is one, the name is his to take.
        let is_impostor = self.frameworks[node].kind == Kind::Impostor;
        let has_victim =
            self.view.frameworks.values().any(|row| row.info.name.as_str() == "batch-0");
        if is_impostor && !has_victim {
            return self.queue.after(1_000, Event::StartFramework(node));
        }
        if self.frameworks[node].driver.is_none() {
            // A process that starts again while another one is active may be told to take over.
            let again = self.frameworks[node].life > 0;
            let take_over = again && self.plan.take_over && self.faulty;
            self.counts.takeovers += u64::from(take_over);
            self.frameworks[node].start(self.plan.seed, take_over);
            self.framework_step(node, Link::Tick);
        }
    }

    pub(super) fn framework_due(&mut self, life: Life, at_ms: u64) {
        let it = &self.frameworks[life.node];
        if it.life == life.life && it.called_at_ms == Some(at_ms) {
            self.frameworks[life.node].called_at_ms = None;
            self.framework_step(life.node, Link::Tick);
        }
    }

    /// Tells a framework process something and carries out what it wants.
    pub fn framework_step(&mut self, node: usize, link: Link) {
        let now = self.framework_clock(node);
        let Some(driver) = &mut self.frameworks[node].driver else { return };
        driver.apply(link, now);
        self.framework_outputs(node);
    }

    /// Carries out what a framework process wants.
    pub fn framework_outputs(&mut self, node: usize) {
        let now = self.framework_clock(node);
        let life = self.frameworks[node].life;
        let client = Client::Framework(node);
        self.show_handled(node);
        self.tear_in = self.tears();
        loop {
            if self.is_torn() {
                return self.kill_framework(node);
            }
            let Some(driver) = &mut self.frameworks[node].driver else { return };
            let Some(output) = driver.next_output(now) else { break };
            match output {
                Output::Connect { connection, .. } => {
                    let place = self.chance.network.random_range(0..self.masters.len());
                    self.dial(client, life, connection, place);
                }
                Output::Send { connection, mut frame } => {
                    self.see(&Seen::FrameworkSent { node, frame: &frame });
                    if let Some(planted) = self.planted {
                        planted.from_framework(&mut self.planted_memory, node, &mut frame);
                    }
                    let bytes = pb::SchedulerUp::from(frame).encode_to_vec();
                    self.send_up(client, life, connection, bytes);
                }
                Output::Close { connection } => self.close_by_client(client, life, connection),
                // It was torn down: another process begins anew.
                Output::Ended => return self.kill_framework(node),
            }
        }
        if matches!(self.frameworks[node].driver, Some(AnyDriver::Service(_))) {
            self.take_answers(node);
            self.see(&Seen::Served { node });
        }
        let Some(driver) = &self.frameworks[node].driver else { return };
        let (invariants, due) = (driver.check_invariants(), driver.next_deadline());
        self.hold(&format!("framework {node}"), invariants);
        let it = &mut self.frameworks[node];
        if let Some(at) = due {
            let at_ms = at.0.saturating_sub(it.clock_ahead_ms).max(self.queue.now_ms() + 1);
            if it.called_at_ms.is_none_or(|called| at_ms < called) {
                it.called_at_ms = Some(at_ms);
                self.queue.at(at_ms, Event::FrameworkDue(Life { node, life }, at_ms));
            }
        }
    }

    /// Shows what the SDK has handed to the framework.
    fn show_handled(&mut self, node: usize) {
        let Some(driver) = &mut self.frameworks[node].driver else { return };
        for (epoch, status) in driver.take_handled() {
            self.see(&Seen::Handled { node, epoch, status: &status });
            if status.state.is_terminal() && self.strikes(Planted::ToldTwice) {
                self.see(&Seen::Handled { node, epoch, status: &status });
            }
        }
    }

    /// Callers of the service framework get their answers.
    fn take_answers(&mut self, node: usize) {
        let Some(AnyDriver::Service(driver)) = &mut self.frameworks[node].driver else { return };
        for answer in driver.framework_mut().inner.take_answers() {
            match answer.result {
                Ok(_) => self.counts.service_calls += 1,
                Err(_) => self.counts.service_refusals += 1,
            }
            self.see(&Seen::Answered { node, answer: &answer });
        }
    }

    /// Ends a framework process at once; it starts again by itself.
    pub fn kill_framework(&mut self, node: usize) {
        if self.frameworks[node].driver.take().is_none() {
            return;
        }
        self.see(&Seen::Died { who: format!("framework {node}") });
        let life = self.frameworks[node].life;
        self.hang_up(Client::Framework(node), life);
        let down = between(&mut self.chance.faults, 10, DOWN_MS_MAX);
        self.queue.after(down, Event::StartFramework(node));
    }
}
