//! Between two steps of a race everything rests: each request is at a gate, was answered, or waits in the database for
//! somebody who is at a gate.

use std::time::{Duration, Instant};

use plexlab_lab::TimedOut;
use plexlab_lab::gates::Held;
use plexlab_race::history::Op;
use plexlab_race::sim::enrolment::OF_THE_NETWORK;

use super::arena::{AFTER_COMMIT, LiveError};
use super::calls::{Caller, Heard};
use super::flights::{Flight, Inbox, Stage};
use super::world::{World, correlation, handle};

/// How long the control plane may take to come to rest after a step. Its own waits for locks end sooner.
const REST_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long a full disk may keep everything from coming to rest: a broker that is refused tells nobody, and tries again.
const FULL_FOR: Duration = Duration::from_secs(5);
/// How long something that was answered may take to come to a gate, or to leave one.
pub(super) const AFTERWARDS: Duration = Duration::from_millis(500);

impl World<'_> {
    /// Nobody waits for what the network asked twice, or for an answer to a call that was given up.
    pub(super) fn deliver(&mut self, caller: u16, op: Op, inbox: Inbox) {
        let (stage, place) = self.waits(caller);
        if stage == Stage::Waits(op) {
            *place = Some(inbox);
        }
    }

    fn hear(&mut self) {
        for (program, number) in self.programs.iter().zip(0..) {
            let Some((&(number, request), _)) = self
                .flights
                .range((number, 0)..(number, OF_THE_NETWORK))
                .rfind(|(_, flight)| !flight.answered)
            else {
                continue;
            };
            if let Some(heard) = program.heard() {
                let _ = self.tell.send((Caller { number, request }, heard));
            }
        }
        while let Ok((Caller { number, request }, heard)) = self.heard.try_recv() {
            let inbox = match heard {
                Heard::Answer { status, body } => {
                    if let Some(refused) = &mut self.disk_full {
                        *refused |= body["code"] == "datastore_unavailable";
                    }
                    Inbox::Answer(status, body)
                }
                Heard::Broken => Inbox::Broken,
            };
            let Some(flight) = self.flights.get_mut(&(number, request)) else { continue };
            flight.answered = true;
            flight.goes_on = matches!(inbox, Inbox::Answer(201, _)) && !flight.committed;
            if !flight.goes_on {
                // Who still waits at its gate is another request of the same agent.
                flight.held = None;
            }
            if let Some(op) = flight.op {
                self.deliver(number, op, inbox);
            }
        }
    }

    /// Waits until everything rests.
    pub(super) async fn rest(&mut self) -> Result<(), LiveError> {
        let begun = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut tries = 0;
        self.look_again();
        loop {
            look.tick().await;
            tries += 1;
            let waiting = self.arena.waiting().await?;
            self.hear();
            self.find(&waiting);
            if let Some(refused) = self.disk_full
                && (refused || begun.elapsed() > FULL_FOR || self.arena.is_going_down().await)
            {
                self.arena.recover_disk().await?;
                self.disk_full = None;
                continue;
            }
            let flying = |flight: &&Flight| flight.held.is_none() && !flight.is_over();
            let flying = self.flights.values().filter(flying).count();
            let running = flying + self.busy_brokers().await?;
            if self.all_blocked(running).await? {
                let restless = match self.look_around().await {
                    // The database, or who needs it, is down for want of space.
                    Err(LiveError::Database(_)) if self.disk_full.is_some() => continue,
                    outcome => outcome?,
                };
                if !restless.due && self.all_blocked(flying + restless.brokers).await? {
                    break;
                }
            }
            if begun.elapsed() > AFTERWARDS {
                // What was answered and is at no gate has come to its end.
                for flight in self.flights.values_mut().filter(|flight| flight.held.is_none()) {
                    flight.goes_on = false;
                }
            }
            if begun.elapsed() > REST_WITHIN {
                let activity = self.arena.witness.activity().await?;
                let flights: Vec<_> = self.flights.iter().collect();
                let brokers = self.describe_brokers();
                let last = format!(
                    "{running} requests and brokers are neither at a gate nor done: {flights:?}; {brokers}; at gates: {waiting:?}; the database: {activity:?}"
                );
                let what = "the control plane to come to rest".to_owned();
                return Err(TimedOut { what, within: REST_WITHIN, tries, last }.into());
            }
        }
        self.flights.retain(|_, flight| !flight.is_over());
        Ok(())
    }

    /// Whether all that runs, so many requests and brokers, waits in the database.
    async fn all_blocked(&self, running: usize) -> Result<bool, LiveError> {
        if running == 0 {
            return Ok(true);
        }
        match self.arena.witness.blocked().await {
            Err(_) if self.disk_full.is_some() => Ok(false),
            blocked => Ok(running <= blocked?),
        }
    }

    /// Who is at which gate.
    fn find(&mut self, waiting: &[Held]) {
        for flight in self.flights.values_mut() {
            if flight.held.is_some_and(|id| !waiting.iter().any(|held| held.id == id)) {
                flight.held = None;
            }
        }
        for held in waiting {
            if self.flights.values().any(|flight| flight.held == Some(held.id)) {
                continue;
            }
            let flight = match self.named(&held.request) {
                Some(key) => self.flights.get_mut(&key),
                None => self.of_program(&held.who),
            };
            if let Some(flight) = flight.filter(|flight| flight.held.is_none()) {
                flight.held = Some(held.id);
                flight.committed |= held.gate.ends_with(AFTER_COMMIT);
            }
        }
    }

    /// The request with this correlation id: all but those of programs have one of ours.
    fn named(&self, id: &str) -> Option<(u16, u16)> {
        let named = |(number, request): &&(u16, u16)| correlation(&self.field, *number, *request) == id;
        self.flights.keys().find(named).copied()
    }

    /// The request of the program with this handle: it has one at a time, and what was broken off may come to a gate, too.
    fn of_program(&mut self, who: &str) -> Option<&mut Flight> {
        let ours = |number: &u16| handle(&self.field, *number) == who;
        let agent = (0..).take(self.programs.len()).find(ours)?;
        let own = self.flights.range_mut((agent, 0)..(agent, OF_THE_NETWORK)).map(|(_, flight)| flight);
        own.min_by_key(|flight| (flight.held.is_some(), flight.answered))
    }

    /// Whether requests are under way that nobody can be asked to let go.
    pub fn is_stuck(&self) -> bool {
        self.choices().is_empty() && self.flights.values().any(|flight| !flight.answered)
    }

    /// Waits for what is under way.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub async fn wait(&mut self) -> Result<(), LiveError> {
        let begun = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        while self.is_stuck() {
            look.tick().await;
            self.rest().await?;
            if begun.elapsed() > REST_WITHIN {
                let last = format!("{:?}", self.flights.keys().collect::<Vec<_>>());
                let what = "requests that wait for locks to go on".to_owned();
                return Err(TimedOut { what, within: REST_WITHIN, tries: 1, last }.into());
            }
        }
        Ok(())
    }
}
