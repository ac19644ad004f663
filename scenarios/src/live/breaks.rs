//! What can break in a race, and having it break.

use std::time::Instant;

use plexlab_race::history::Event;
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_race::sim::enrolment::OF_THE_NETWORK;

use super::arena::LiveError;
use super::flights::{Flight, Inbox, Stage};
use super::resting::{AFTERWARDS, LOOK_EVERY};
use super::world::World;

impl World<'_> {
    /// What can break now.
    pub(super) fn breakable(&self, choices: &mut Vec<Choice>) {
        let mut fault = |fault| choices.push(Choice::Fault(fault));
        if !self.flights.is_empty() {
            fault(Fault::KillServer);
        }
        if !self.flights.is_empty() || self.life.is_some() {
            fault(Fault::RestartDatabase);
            if self.disk_full.is_none() {
                fault(Fault::DiskFull);
            }
        }
        if self.next_expiry().is_some() {
            fault(Fault::Jump);
        }
        for ((caller, request), flight) in &self.flights {
            if flight.held.is_some() && !flight.answered {
                fault(Fault::Reset(*caller, *request));
            }
        }
        for (agent, number) in self.agents.iter().zip(0..) {
            match (agent.stage, &agent.inbox) {
                (Stage::Waits(_), Some(Inbox::Answer(..))) => fault(Fault::LoseReply(number)),
                (Stage::Waits(_), None) => {
                    if agent.requests < self.cast.requests {
                        fault(Fault::KillAgent(number));
                    }
                    if !self.flights.contains_key(&(number, OF_THE_NETWORK + agent.requests)) {
                        fault(Fault::Duplicate(number));
                    }
                }
                _ => {}
            }
        }
        for (person, number) in self.people.iter().zip(self.first_person()..) {
            match (person.stage, &person.inbox) {
                (Stage::Waits(_), Some(Inbox::Answer(..))) => fault(Fault::LoseReply(number)),
                (Stage::Waits(_), None) if !self.flights.contains_key(&(number, OF_THE_NETWORK)) => {
                    fault(Fault::Duplicate(number));
                }
                _ => {}
            }
        }
        self.life_faults(choices);
    }

    /// The next moment at which a token's time ends, if the clock has not passed all.
    fn next_expiry(&self) -> Option<i64> {
        let now = super::history::now() - self.field.base + self.arena.ahead() * 1_000_000;
        if let Some(life) = &self.life {
            return life.next_expiry(now + self.field.base).map(|at| at - self.field.base);
        }
        self.field.ground.tokens.iter().map(|token| token.expires_at).filter(|at| *at >= now).min()
    }

    pub(super) async fn fault(&mut self, fault: Fault) -> Result<(), LiveError> {
        self.faults = self.faults.saturating_sub(1);
        self.sightings.event(Event::Fault(Choice::Fault(fault).to_string()));
        match fault {
            Fault::KillServer | Fault::KillBroker(_) | Fault::SubstrateFails if self.life.is_some() => {}
            Fault::KillServer => {
                // Without space no control plane starts.
                self.space_again().await?;
                self.arena.restart_control_plane(0).await?;
                // Whatever was held is gone with it.
                for flight in self.flights.values_mut() {
                    (flight.held, flight.goes_on) = (None, false);
                }
            }
            Fault::RestartDatabase => {
                self.arena.crash_database().await?;
                self.disk_full = None;
            }
            Fault::DiskFull => {
                self.arena.fill_disk().await?;
                self.disk_full = Some(false);
            }
            Fault::Jump => {
                if let Some(expiry) = self.next_expiry() {
                    let now = super::history::now() - self.field.base;
                    let ahead = (expiry - now).div_euclid(1_000_000) + 1;
                    self.arena.set_clock(ahead).await?;
                    self.sightings.clock(ahead);
                }
            }
            Fault::Reset(caller, request) => self.break_off(caller, request).await?,
            Fault::KillAgent(number) if self.is_agent(number) => {
                let request = self.agents[usize::from(number)].requests.saturating_sub(1);
                self.break_off(number, request).await?;
                if let Some(program) = self.programs.get_mut(usize::from(number)) {
                    program.kill().await;
                }
                let agent = &mut self.agents[usize::from(number)];
                if let Stage::Waits(op) = agent.stage {
                    agent.inbox = None;
                    agent.stage = Stage::Idle;
                    agent.nonce += 1000;
                    self.sightings.event(Event::Lost { op });
                }
            }
            Fault::LoseReply(caller) => {
                let (_, inbox) = self.waits(caller);
                if inbox.is_some() {
                    *inbox = Some(Inbox::Broken);
                }
            }
            Fault::Duplicate(number) => {
                let (by, call, again) = self.asked(number);
                let request = OF_THE_NETWORK + again;
                self.invoke(by, call);
                let task = self.ask(number, request);
                self.flights.insert((number, request), Flight::new(None, task));
            }
            _ => {}
        }
        self.life_breaks(fault).await
    }

    pub(super) async fn space_again(&mut self) -> Result<(), LiveError> {
        if self.disk_full.take().is_some() { self.arena.space_again().await } else { Ok(()) }
    }

    /// Breaks a request's connection, and waits until the control plane has given it up.
    async fn break_off(&mut self, caller: u16, request: u16) -> Result<(), LiveError> {
        let Some(mut flight) = self.flights.remove(&(caller, request)) else { return Ok(()) };
        flight.task.abort();
        if let Some(program) = self.programs.get(usize::from(caller))
            && request < OF_THE_NETWORK
        {
            program.break_off();
        }
        if let Some(op) = flight.op {
            self.deliver(caller, op, Inbox::Broken);
        }
        let Some(id) = flight.held else { return Ok(()) };
        let begun = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        while self.arena.waiting().await?.iter().any(|held| held.id == id) {
            if begun.elapsed() > AFTERWARDS {
                // It goes on without its caller: some are wrong in this way.
                flight.answered = true;
                self.flights.insert((caller, request), flight);
                break;
            }
            look.tick().await;
        }
        Ok(())
    }
}
