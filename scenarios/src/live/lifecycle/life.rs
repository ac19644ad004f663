//! A provisioned Resource in a race: what can happen to it next, and having it happen.

use std::time::Instant;

use plexlab_lab::TimedOut;
use plexlab_race::history::Event;
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_rules::phase::Phase;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::cluster::Composite;
use super::rows::{Minted, Rows};
use crate::live::arena::{Arena, LiveError, PATIENCE};
use crate::live::calls::{self, Asked, Caller};
use crate::live::changes::Noted;
use crate::live::field::Provisioned;
use crate::live::flights::Flight;
use crate::live::history::{nonce, now};
use crate::live::resting::LOOK_EVERY;
use crate::live::world::{World, correlation};

/// The Resource, in a history.
pub(super) const RESOURCE: u32 = 0;
/// Numbers of watchers begin here, as in the simulation.
const WATCHERS: u16 = 10;
/// The enrolment Job, as a caller: behind all people.
const JOB: u16 = 100;
/// The gate before the outbox is read.
const OUTBOX: &str = "outbox.before-read";

/// What is known of the Resource, and of those around it.
#[derive(Debug)]
pub(in crate::live) struct Life {
    pub(super) of: Provisioned,
    /// What it is called at gates.
    pub(super) names: [String; 2],
    pub(super) brokers: Vec<Broker>,
    /// Looks that brokers were asked for.
    pub(super) looks: Vec<Option<JoinHandle<bool>>>,
    pub(super) object: Option<Composite>,
    /// The end of the object with this uid was seen.
    pub(super) ended: Option<String>,
    /// What was let go last would remove what is nobody's.
    pub(super) sweeps: bool,
    pub(super) rows: Rows,
    pub(super) written: Vec<Noted>,
    /// Of the rows, the cluster, views and the clock: how many were seen.
    pub(super) changes: u64,
    /// The same when the step was taken.
    pub(super) as_of: u64,
    seen: Vec<Phase>,
    jobs: u16,
}

impl Life {
    pub(in crate::live) fn new(arena: &Arena, of: Provisioned, watchers: u16) -> Self {
        let brokers: Vec<Broker> = arena.listed.iter().map(|listed| Broker::new(*listed)).collect();
        Self {
            names: [of.resource.to_string(), of.id.to_string()],
            rows: Rows::of(of.resource),
            looks: brokers.iter().map(|_| None).collect(),
            brokers,
            object: None,
            ended: None,
            sweeps: false,
            written: Vec::new(),
            changes: 0,
            as_of: 0,
            seen: vec![Phase::Pending; watchers.into()],
            jobs: 0,
            of,
        }
    }

    /// What was committed of it, and its tokens.
    pub(in crate::live) fn into_written(self) -> (Vec<Noted>, Vec<Minted>) {
        (self.written, self.rows.tokens)
    }

    /// When the time of the next token ends that can be redeemed, in microseconds since the epoch.
    pub(in crate::live) fn next_expiry(&self, now: i64) -> Option<i64> {
        self.rows.next_expiry(now)
    }

    fn substrate_goes_on(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.terminating || !object.ready && !object.failed)
    }

    fn job_can_run(&self, ahead: i64) -> bool {
        let Some(object) = self.object.as_ref().filter(|object| object.ready && !object.terminating) else {
            return false;
        };
        object.token.is_some_and(|token| self.rows.redeemable(token, now() + ahead * 1_000_000))
    }
}

impl World<'_> {
    /// What can happen next to the Resource, before people and watchers.
    pub(in crate::live) fn life_choices(&self, choices: &mut Vec<Choice>) {
        let Some(life) = &self.life else { return };
        for (broker, number) in life.brokers.iter().zip(0..) {
            if broker.can_go(life.changes) {
                choices.push(Choice::Broker(number));
            }
        }
        if life.brokers.iter().any(Broker::has_news) {
            choices.push(Choice::Watch);
        }
        if life.substrate_goes_on() {
            choices.push(Choice::Substrate);
        }
        let runs = self.flights.range((JOB, 0)..=(JOB, u16::MAX)).next().is_some();
        if !runs && life.job_can_run(self.arena.ahead()) {
            choices.push(Choice::Job);
        }
        if life.rows.node.is_some() && !life.rows.anchored {
            choices.push(Choice::Outbox);
        }
    }

    /// Watchers that have something to see.
    pub(in crate::live) fn watcher_choices(&self, choices: &mut Vec<Choice>) {
        let Some(life) = &self.life else { return };
        for (seen, number) in life.seen.iter().zip(0..) {
            if *seen != life.rows.phase {
                choices.push(Choice::Watcher(number));
            }
        }
    }

    /// What can break around the Resource.
    pub(in crate::live) fn life_faults(&self, choices: &mut Vec<Choice>) {
        let Some(life) = &self.life else { return };
        for (broker, number) in life.brokers.iter().zip(0..) {
            if broker.is_held() {
                choices.push(Choice::Fault(Fault::KillBroker(number)));
            }
        }
        if life.brokers.iter().any(Broker::is_listed) {
            choices.push(Choice::Fault(Fault::RestartCluster));
        }
        if life.object.as_ref().is_some_and(|object| !object.failed && !object.terminating) {
            choices.push(Choice::Fault(Fault::SubstrateFails));
        }
    }

    /// Has it happen.
    pub(in crate::live) async fn life_step(&mut self, choice: Choice) -> Result<(), LiveError> {
        let Some(mut life) = self.life.take() else { return Ok(()) };
        let outcome = self.lives(&mut life, choice).await;
        self.life = Some(life);
        outcome
    }

    async fn lives(&mut self, life: &mut Life, choice: Choice) -> Result<(), LiveError> {
        match choice {
            Choice::Broker(number) => {
                let place = usize::from(number);
                if let Some((id, sweeps)) = life.brokers.get_mut(place).and_then(Broker::go) {
                    life.sweeps = sweeps;
                    self.arena.release(place, id).await?;
                }
            }
            Choice::Watch => {
                for (place, broker) in life.brokers.iter_mut().enumerate() {
                    if let Some(id) = broker.see() {
                        self.arena.release(place, id).await?;
                        self.arena.listed[place] = true;
                    }
                }
                life.changes += 1;
            }
            Choice::Substrate => {
                let cluster = self.arena.cluster()?;
                match &life.object {
                    Some(object) if object.terminating => drop(cluster.collect(&life.of).await?),
                    Some(object) => cluster.set_state(&life.of, true, object.failed).await?,
                    None => {}
                }
            }
            Choice::Job => self.job(life),
            Choice::Outbox => self.outbox(life).await?,
            Choice::Watcher(number) => self.look_on(life, number).await?,
            _ => {}
        }
        Ok(())
    }

    /// The enrolment Job registers with what is in the Composite Resource, and tries again when it was given up.
    fn job(&mut self, life: &mut Life) {
        let plaintext = life.object.as_ref().and_then(|object| object.plaintext.as_ref());
        let Some(plaintext) = plaintext else { return };
        self.arena.redactor.register(plaintext.expose_secret());
        life.jobs += 1;
        let number = life.jobs;
        let nonce = nonce(&self.field.prefix, number.into());
        let base = self.arena.bare.url();
        let asked = calls::registration(&base, life.of.project, plaintext, &life.of.handle, &nonce);
        let asked = Asked { correlation: Some(correlation(&self.field, JOB, number)), ..asked };
        let caller = Caller { number: JOB, request: number };
        let task = calls::send(&self.arena.callers, asked, caller, self.tell.clone());
        self.flights.insert((JOB, number), Flight::new(None, task));
    }

    /// The outbox is read, by whichever control plane is about to, until the Node has its peer.
    async fn outbox(&mut self, life: &mut Life) -> Result<(), LiveError> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let begun = Instant::now();
        while life.rows.node.is_some() && !life.rows.anchored && begun.elapsed() < PATIENCE {
            look.tick().await;
            for place in 0..self.arena.bare.count() {
                let waiting = self.arena.waiting_at(place).await?;
                for held in waiting.iter().filter(|held| held.gate == OUTBOX) {
                    self.arena.release(place, held.id).await?;
                }
            }
            match self.read_rows(life).await {
                // What was to be written is what a database without space goes down by; it has its peer another time.
                Err(LiveError::Database(_)) if self.disk_full.is_some() => break,
                read => read?,
            }
        }
        Ok(())
    }

    /// A watcher looks, each at another control plane.
    async fn look_on(&mut self, life: &mut Life, number: u16) -> Result<(), LiveError> {
        let place = usize::from(number);
        let path = format!("/v1/resources/{}", life.of.resource);
        let bearer = self.arena.bearer();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let (begun, mut tries) = (Instant::now(), 0);
        let body = loop {
            look.tick().await;
            tries += 1;
            let control_plane = place % self.arena.bare.count();
            // It may have just recovered.
            let error = match self.arena.ask(control_plane, Method::GET, &path, Some(&bearer), None).await {
                Ok(body) => break body,
                Err(error) => error,
            };
            if self.disk_full.is_some() && self.arena.is_going_down().await {
                self.arena.recover_disk().await?;
                self.disk_full = None;
            }
            if begun.elapsed() > PATIENCE {
                let what = "the control plane to show the Resource".to_owned();
                return Err(TimedOut { what, within: PATIENCE, tries, last: error.to_string() }.into());
            }
        };
        let phase = body["provisioning"]["phase"].as_str().and_then(Phase::parse);
        let phase = phase.ok_or_else(|| LiveError::Unexpected {
            call: format!("GET {path}"),
            status: 200,
            body: self.arena.redactor.redact(&body.to_string()).into_owned(),
        })?;
        life.seen[place] = phase;
        self.sightings.event(Event::Saw { watcher: WATCHERS + number, resource: RESOURCE, phase });
        Ok(())
    }

    /// Breaks something around the Resource.
    pub(in crate::live) async fn life_breaks(&mut self, fault: Fault) -> Result<(), LiveError> {
        let Some(mut life) = self.life.take() else { return Ok(()) };
        let outcome = match fault {
            // The first one's control plane serves everybody.
            Fault::KillServer | Fault::KillBroker(0) => self.kill_control_plane(&mut life, 0).await,
            Fault::KillBroker(number) => self.kill_control_plane(&mut life, number.into()).await,
            Fault::SubstrateFails => match &life.object {
                Some(object) => self.arena.cluster()?.set_state(&life.of, object.ready, true).await,
                None => Ok(()),
            },
            Fault::RestartCluster => self.arena.cluster()?.restart().await,
            _ => Ok(()),
        };
        life.changes += 1;
        self.life = Some(life);
        outcome
    }

    async fn kill_control_plane(&mut self, life: &mut Life, number: usize) -> Result<(), LiveError> {
        // Without space no control plane starts.
        self.space_again().await?;
        self.arena.restart_control_plane(number).await?;
        if let Some(broker) = life.brokers.get_mut(number) {
            broker.restarted();
            self.arena.listed[number] = false;
        }
        if number == 0 {
            // Whatever was held is gone with it.
            for flight in self.flights.values_mut() {
                (flight.held, flight.goes_on) = (None, false);
            }
        }
        Ok(())
    }
}
