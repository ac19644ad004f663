//! One race, step by step: what can happen next, and having it happen.
//!
//! What breaks is in [`super::breaks`], how everything comes to rest between two steps in [`super::resting`].

use std::collections::{BTreeMap, HashMap};

use plexlab_lab::Verdict;
use plexlab_race::history::{Call, Event, Op, Reply};
use plexlab_race::sim::choice::Choice;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::arena::{Arena, LINES, LiveError};
use super::calls::{self, Asked, Caller, Heard, Understood, understood};
use super::cast::Cast;
use super::field::Field;
use super::flights::{Flight, Inbox, Stage};
use super::history::{Numbers, Seen, Sightings, nonce};
use super::lifecycle::life::Life;
use super::play::Played;
use super::programs::{self, Next};

#[derive(Debug)]
pub(super) struct Agent {
    token: u32,
    pub(super) nonce: u32,
    pub(super) stage: Stage,
    pub(super) inbox: Option<Inbox>,
    pub(super) requests: u16,
}

#[derive(Debug)]
pub(super) struct Person {
    /// Who this is in the history.
    by: u16,
    call: Call,
    pub(super) stage: Stage,
    pub(super) inbox: Option<Inbox>,
}

/// One race.
#[derive(Debug)]
pub struct World<'a> {
    pub(super) arena: &'a mut Arena,
    pub(super) cast: Cast,
    pub(super) field: Field,
    pub(super) agents: Vec<Agent>,
    pub(super) people: Vec<Person>,
    /// By the number of the caller, and that of its request.
    pub(super) flights: BTreeMap<(u16, u16), Flight>,
    handles: HashMap<String, u32>,
    /// Agents that are processes; empty when they are connections of this one.
    pub(super) programs: Vec<programs::Agent>,
    nonces: HashMap<String, u32>,
    pub(super) tell: mpsc::UnboundedSender<(Caller, Heard)>,
    pub(super) heard: mpsc::UnboundedReceiver<(Caller, Heard)>,
    pub(super) sightings: Sightings,
    ops: Op,
    calls: Vec<Call>,
    pub(super) faults: u16,
    /// The database has no space, and whether somebody was refused for it.
    pub(super) disk_full: Option<bool>,
    /// What is known of the provisioned Resource, if the race is about one.
    pub(super) life: Option<Life>,
}

impl<'a> World<'a> {
    /// Before anything happens.
    ///
    /// # Errors
    /// When the control plane refuses what the race begins with.
    pub async fn new(arena: &'a mut Arena, cast: Cast) -> Result<Self, LiveError> {
        let field = Field::prepare(arena, &cast).await?;
        arena.set_gates(true).await?;
        // What the field itself wrote is no part of the race.
        arena.witness.begin().await?;
        let agents: Vec<Agent> = cast
            .agents
            .iter()
            .zip(0_u32..)
            .map(|(token, number)| Agent {
                token: *token,
                nonce: if cast.one_nonce { 1 } else { number + 1 },
                stage: Stage::Idle,
                inbox: None,
                requests: 0,
            })
            .collect();
        let mut programs = Vec::new();
        if arena.agents.is_some() {
            let (url, dir) = (arena.bare.url(), arena.bare.directory().join("agents"));
            for number in (0..).take(agents.len()) {
                programs.push(programs::Agent::new(&url, &dir, handle(&field, number)).await?);
            }
        }
        let people = cast.people.iter().map(|(by, call)| Person {
            by: *by,
            call: *call,
            stage: Stage::Idle,
            inbox: None,
        });
        let handles = agents.iter().zip(0_u16..).map(|(agent, number)| (handle(&field, number), agent.token));
        let (tell, heard) = mpsc::unbounded_channel();
        let around = cast.life.zip(field.resources.first().cloned());
        let life = around.map(|(around, resource)| Life::new(arena, resource, around.watchers));
        let mut world = Self {
            people: people.collect(),
            handles: handles.collect(),
            agents,
            programs,
            nonces: HashMap::new(),
            flights: BTreeMap::new(),
            tell,
            heard,
            sightings: Sightings::default(),
            ops: 0,
            calls: Vec::new(),
            faults: cast.faults,
            disk_full: None,
            life,
            cast,
            field,
            arena,
        };
        if world.life.is_some() {
            world.rest().await?;
        }
        Ok(world)
    }

    /// The number that people begin with, as callers.
    pub(super) fn first_person(&self) -> u16 {
        u16::try_from(self.agents.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn is_agent(&self, caller: u16) -> bool {
        usize::from(caller) < self.agents.len()
    }

    /// How far a caller is, and where its answers go.
    pub(super) fn waits(&mut self, caller: u16) -> (Stage, &mut Option<Inbox>) {
        let place = usize::from(caller);
        let agents = self.agents.len();
        if place < agents {
            let agent = &mut self.agents[place];
            (agent.stage, &mut agent.inbox)
        } else {
            let person = &mut self.people[place - agents];
            (person.stage, &mut person.inbox)
        }
    }

    /// Who a caller is in the history, what it asks, and the number that its next request would have.
    pub(super) fn asked(&self, caller: u16) -> (u16, Call, u16) {
        let place = usize::from(caller);
        match self.agents.get(place) {
            Some(agent) => (caller, Call::Redeem { token: agent.token, nonce: agent.nonce }, agent.requests),
            None => {
                let person = &self.people[place - self.agents.len()];
                (person.by, person.call, 0)
            }
        }
    }

    /// What can happen next, in the simulation's order; faults come last.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        self.life_choices(&mut choices);
        let can_go = |stage: Stage, inbox: &Option<Inbox>| {
            stage == Stage::Idle || matches!(stage, Stage::Waits(_)) && inbox.is_some()
        };
        for (agent, number) in self.agents.iter().zip(0..) {
            if can_go(agent.stage, &agent.inbox) {
                choices.push(Choice::Agent(number));
            }
        }
        let held = self.flights.iter().filter(|(_, flight)| flight.held.is_some());
        choices.extend(held.clone().filter_map(|((caller, request), _)| {
            // A person's own request is the desk's.
            let desks = !self.is_agent(*caller) && *request == 0;
            (!desks).then_some(Choice::Server(*caller, *request))
        }));
        for (person, number) in self.people.iter().zip(0..) {
            if can_go(person.stage, &person.inbox) {
                choices.push(Choice::Person(number));
            }
            let own = (self.first_person() + number, 0);
            if held.clone().any(|(key, _)| *key == own) {
                choices.push(Choice::Desk(number));
            }
        }
        self.watcher_choices(&mut choices);
        if self.faults > 0 && !choices.is_empty() {
            self.breakable(&mut choices);
        }
        choices
    }

    /// Has it happen, and waits until everything rests.
    ///
    /// # Errors
    /// When something does not answer as it must.
    pub async fn step(&mut self, choice: Choice) -> Result<(), LiveError> {
        match choice {
            Choice::Agent(number) => self.agent(number).await?,
            Choice::Server(caller, request) => self.let_go(caller, request).await?,
            Choice::Person(number) => self.person(number)?,
            Choice::Desk(number) => self.let_go(self.first_person() + number, 0).await?,
            Choice::Fault(fault) => self.fault(fault).await?,
            choice => self.life_step(choice).await?,
        }
        self.rest().await
    }

    /// Lets a request go on to its next gate.
    async fn let_go(&mut self, caller: u16, request: u16) -> Result<(), LiveError> {
        if let Some(flight) = self.flights.get_mut(&(caller, request))
            && let Some(id) = flight.held.take()
        {
            flight.goes_on &= !flight.committed;
            self.arena.release(0, id).await?;
        }
        Ok(())
    }

    pub(super) fn invoke(&mut self, by: u16, call: Call) -> Op {
        let op = self.ops;
        self.ops += 1;
        self.calls.push(call);
        self.sightings.event(Event::Invoke { op, by, call });
        op
    }

    /// Sends a caller's request.
    pub(super) fn ask(&self, caller: u16, request: u16) -> JoinHandle<()> {
        let asked = match self.programs.get(usize::from(caller)) {
            // What the network doubles.
            Some(program) => {
                let body = serde_json::from_slice(&program.last().request).ok();
                let url = format!("{}/v1/register", self.arena.bare.url());
                let correlation = Some(correlation(&self.field, caller, request));
                Asked { method: reqwest::Method::POST, url, bearer: None, correlation, body }
            }
            None => self.request(caller, request),
        };
        let caller = Caller { number: caller, request };
        calls::send(&self.arena.callers, asked, caller, self.tell.clone())
    }

    fn request(&self, caller: u16, request: u16) -> Asked {
        let (by, call, _) = self.asked(caller);
        let base = self.arena.bare.url();
        let bearer = || self.field.parties.get(usize::from(by)).map(|party| party.bearer.clone());
        let asked = match call {
            Call::Redeem { token, nonce: number } => {
                let token = &self.field.tokens[token as usize];
                let (handle, nonce) = (handle(&self.field, caller), nonce(&self.field.prefix, number));
                calls::registration(&base, token.project, &token.plaintext, &handle, &nonce)
            }
            Call::Revoke { token } | Call::Read { token } => {
                let token = &self.field.tokens[token as usize];
                calls::about_token(&base, call, (token.project, token.id), self.arena.bearer())
            }
            Call::Decide { assignment, decision } => {
                calls::decision(&base, self.field.requests[assignment as usize].id, decision, bearer())
            }
            Call::Provision { assignment } => {
                calls::provision(&base, &self.field.requests[assignment as usize], bearer())
            }
            Call::Delete { resource } => {
                calls::deletion(&base, self.field.resources[resource as usize].resource, self.arena.bearer())
            }
        };
        Asked { correlation: Some(correlation(&self.field, caller, request)), ..asked }
    }

    /// A program's next registration reaches the control plane; nothing happens when it has ended.
    async fn program(&mut self, number: u16) -> Result<(), LiveError> {
        let place = usize::from(number);
        let Some(program) = self.arena.agents.clone() else { return Ok(()) };
        let token = &self.field.tokens[self.agents[place].token as usize];
        let Next::Asks(id) = self.programs[place].until_it_asks(&program, token).await? else {
            self.agents[place].stage = Stage::Done;
            return Ok(());
        };
        let last = self.programs[place].last();
        let body: serde_json::Value = serde_json::from_slice(&last.request).unwrap_or_default();
        let fresh = u32::try_from(self.nonces.len()).unwrap_or(0) + 1;
        // An agent without nonces gets another each time, of the control plane.
        let nonce = body["nonce"].as_str().map_or_else(|| format!("{number}.{}", last.number), str::to_owned);
        let nonce = *self.nonces.entry(nonce).or_insert(fresh);
        let agent = &mut self.agents[place];
        agent.nonce = nonce;
        let (call, request) = (Call::Redeem { token: agent.token, nonce }, agent.requests);
        agent.requests += 1;
        let op = self.invoke(number, call);
        self.agents[place].stage = Stage::Waits(op);
        self.flights.insert((number, request), Flight::new(Some(op), tokio::spawn(async {})));
        self.programs[place].let_go(id);
        Ok(())
    }

    async fn agent(&mut self, number: u16) -> Result<(), LiveError> {
        if !self.programs.is_empty() && self.agents[usize::from(number)].stage == Stage::Idle {
            return self.program(number).await;
        }
        let agent = &mut self.agents[usize::from(number)];
        match (agent.stage, agent.inbox.take()) {
            (Stage::Idle, _) => {
                let (by, call, request) = self.asked(number);
                let op = self.invoke(by, call);
                let task = self.ask(number, request);
                let agent = &mut self.agents[usize::from(number)];
                agent.requests += 1;
                agent.stage = Stage::Waits(op);
                self.flights.insert((number, request), Flight::new(Some(op), task));
            }
            (Stage::Waits(op), Some(inbox)) => {
                let again = self.take(op, &inbox)?;
                if let Some(program) = self.programs.get(usize::from(number)) {
                    program.answer(if inbox == Inbox::Broken { Verdict::Lose } else { Verdict::Go });
                }
                let agent = &mut self.agents[usize::from(number)];
                agent.stage =
                    if again && agent.requests < self.cast.requests { Stage::Idle } else { Stage::Done };
            }
            (_, inbox) => agent.inbox = inbox,
        }
        Ok(())
    }

    /// People ask once: whether something that was lost was done is for them to look up.
    fn person(&mut self, number: u16) -> Result<(), LiveError> {
        let place = usize::from(number);
        let caller = self.first_person() + number;
        let person = &mut self.people[place];
        match (person.stage, person.inbox.take()) {
            (Stage::Idle, _) => {
                let (by, call, request) = self.asked(caller);
                let op = self.invoke(by, call);
                let task = self.ask(caller, request);
                self.people[place].stage = Stage::Waits(op);
                self.flights.insert((caller, request), Flight::new(Some(op), task));
            }
            (Stage::Waits(op), Some(inbox)) => {
                self.take(op, &inbox)?;
                self.people[place].stage = Stage::Done;
            }
            (_, inbox) => person.inbox = inbox,
        }
        Ok(())
    }

    /// A caller takes what came back; says whether it should ask again.
    fn take(&mut self, op: Op, inbox: &Inbox) -> Result<bool, LiveError> {
        match inbox {
            Inbox::Broken => {
                self.sightings.event(Event::Lost { op });
                Ok(true)
            }
            Inbox::Answer(status, body) => {
                let call = self.calls[op as usize];
                let answer = understood(call, *status, body).ok_or_else(|| LiveError::Unexpected {
                    call: format!("{call:?}"),
                    status: *status,
                    body: self.arena.redactor.redact(&body.to_string()).into_owned(),
                })?;
                let again = answer == Understood::Reply(Reply::Unavailable);
                self.sightings.add(Seen::Answer(op, answer));
                Ok(again)
            }
        }
    }

    /// What happened.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn into_played(mut self, settled: bool) -> Result<Played, LiveError> {
        self.space_again().await?;
        let (mut written, minted) = self.life.take().map(Life::into_written).unwrap_or_default();
        written.extend(self.arena.witness.news().await?);
        self.field.minted(&minted);
        let numbers = Numbers { handles: &self.handles, nonces: &self.nonces };
        let history = self.sightings.history(&self.field, &written, &numbers, settled);
        let mut logs = BTreeMap::new();
        for program in self.programs {
            logs.insert(program.name().to_owned(), program.log(LINES, &self.arena.redactor));
            program.stop().await;
        }
        Ok(Played { schedule: Vec::new(), history, field: self.field, logs })
    }
}

/// The handle that an agent registers with.
pub(super) fn handle(field: &Field, agent: u16) -> String {
    format!("{}-agent-{agent}", field.prefix)
}

/// By what a request is known at gates.
pub(super) fn correlation(field: &Field, caller: u16, request: u16) -> String {
    format!("{}-call-{caller}.{request}", field.prefix)
}
