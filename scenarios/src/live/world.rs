//! One race, step by step: what can happen next, and having it happen.
//!
//! Between two steps everything rests: each request is at a gate, was answered, or waits in the database for somebody
//! who is at a gate.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use plexlab_lab::{TimedOut, Verdict};
use plexlab_race::history::{Call, Event, Op, Reply};
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_race::sim::enrolment::{OF_THE_NETWORK, Setup};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::arena::{Arena, Field, LAST_GATE, LINES, LiveError};
use super::calls::{self, Asked, Caller, Heard, Understood, understood};
use super::history::{Numbers, Seen, Sightings, nonce};
use super::play::Played;
use super::programs::{self, Next};

/// How long the control plane may take to come to rest after a step. Its own waits for locks end sooner.
const REST_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long something that was answered may take to come to a gate, or to leave one.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What comes back to a caller.
#[derive(Debug, Clone, PartialEq)]
enum Inbox {
    Answer(u16, serde_json::Value),
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Waits(Op),
    Done,
}

#[derive(Debug)]
struct Agent {
    token: u32,
    nonce: u32,
    stage: Stage,
    inbox: Option<Inbox>,
    requests: u16,
}

#[derive(Debug)]
struct Person {
    call: Call,
    stage: Stage,
    inbox: Option<Inbox>,
    task: Option<JoinHandle<()>>,
}

/// One registration at the control plane.
#[derive(Debug)]
struct Flight {
    /// The call that waits for its answer; none when its caller is gone.
    op: Option<Op>,
    /// Where it is held.
    held: Option<u64>,
    /// It has come to the last gate.
    committed: bool,
    answered: bool,
    /// It was answered before its commit, and goes on by itself: some are wrong in this way.
    goes_on: bool,
    task: JoinHandle<()>,
}

impl Flight {
    fn new(op: Option<Op>, task: JoinHandle<()>) -> Self {
        Self { op, held: None, committed: false, answered: false, goes_on: false, task }
    }

    fn is_over(&self) -> bool {
        self.held.is_none() && self.answered && !self.goes_on
    }
}

/// One race.
#[derive(Debug)]
pub struct World<'a> {
    arena: &'a mut Arena,
    setup: Setup,
    field: Field,
    agents: Vec<Agent>,
    people: Vec<Person>,
    flights: BTreeMap<(u16, u16), Flight>,
    handles: HashMap<String, u32>,
    /// Agents that are processes; empty when they are connections of this one.
    programs: Vec<programs::Agent>,
    nonces: HashMap<String, u32>,
    tell: mpsc::UnboundedSender<(Caller, Heard)>,
    heard: mpsc::UnboundedReceiver<(Caller, Heard)>,
    sightings: Sightings,
    ops: Op,
    calls: Vec<Call>,
    faults: u16,
    /// The database has no space, and whether somebody was refused for it.
    disk_full: Option<bool>,
}

impl<'a> World<'a> {
    /// Before anything happens.
    ///
    /// # Errors
    /// When the control plane refuses what the race begins with.
    pub async fn new(arena: &'a mut Arena, setup: &Setup) -> Result<Self, LiveError> {
        let field = arena.field(setup).await?;
        arena.set_gates(true).await?;
        // What the field itself wrote is no part of the race.
        arena.witness.news().await?;
        let agents: Vec<Agent> = setup
            .agents
            .iter()
            .zip(0_u32..)
            .map(|(token, number)| Agent {
                token: *token,
                nonce: if setup.one_nonce { 1 } else { number + 1 },
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
        let people = setup.people.iter().map(|call| Person {
            call: *call,
            stage: Stage::Idle,
            inbox: None,
            task: None,
        });
        let handles = agents.iter().zip(0_u16..).map(|(agent, number)| (handle(&field, number), agent.token));
        let (tell, heard) = mpsc::unbounded_channel();
        Ok(Self {
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
            faults: setup.faults,
            disk_full: None,
            setup: setup.clone(),
            field,
            arena,
        })
    }

    /// What can happen next, in the simulation's order; faults come last.
    pub fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let can_go = |stage: Stage, inbox: &Option<Inbox>| {
            stage == Stage::Idle || matches!(stage, Stage::Waits(_)) && inbox.is_some()
        };
        for (agent, number) in self.agents.iter().zip(0..) {
            if can_go(agent.stage, &agent.inbox) {
                choices.push(Choice::Agent(number));
            }
        }
        let held = self.flights.iter().filter(|(_, flight)| flight.held.is_some());
        choices.extend(held.map(|((agent, request), _)| Choice::Server(*agent, *request)));
        for (person, number) in self.people.iter().zip(0..) {
            if can_go(person.stage, &person.inbox) {
                choices.push(Choice::Person(number));
            }
        }
        if self.faults > 0 && !choices.is_empty() {
            self.faults(&mut choices);
        }
        choices
    }

    fn faults(&self, choices: &mut Vec<Choice>) {
        let mut fault = |fault| choices.push(Choice::Fault(fault));
        if !self.flights.is_empty() {
            fault(Fault::KillServer);
            fault(Fault::RestartDatabase);
            if self.disk_full.is_none() {
                fault(Fault::DiskFull);
            }
        }
        if self.next_expiry().is_some() {
            fault(Fault::Jump);
        }
        for ((agent, request), flight) in &self.flights {
            if flight.held.is_some() && !flight.answered {
                fault(Fault::Reset(*agent, *request));
            }
        }
        for (agent, number) in self.agents.iter().zip(0..) {
            match (agent.stage, &agent.inbox) {
                (Stage::Waits(_), Some(Inbox::Answer(..))) => fault(Fault::LoseReply(number)),
                (Stage::Waits(_), None) => {
                    if agent.requests < self.setup.requests {
                        fault(Fault::KillAgent(number));
                    }
                    if !self.flights.contains_key(&(number, OF_THE_NETWORK + agent.requests)) {
                        fault(Fault::Duplicate(number));
                    }
                }
                _ => {}
            }
        }
    }

    /// The next moment at which a token's time ends, if the clock has not passed all.
    fn next_expiry(&self) -> Option<i64> {
        let now = super::history::now() - self.field.base + self.arena.ahead() * 1_000_000;
        self.field.ground.tokens.iter().map(|token| token.expires_at).filter(|at| *at >= now).min()
    }

    /// Has it happen, and waits until everything rests.
    ///
    /// # Errors
    /// When something does not answer as it must.
    pub async fn step(&mut self, choice: Choice) -> Result<(), LiveError> {
        match choice {
            Choice::Agent(number) => self.agent(number).await?,
            Choice::Server(agent, request) => {
                if let Some(flight) = self.flights.get_mut(&(agent, request))
                    && let Some(id) = flight.held.take()
                {
                    flight.goes_on &= !flight.committed;
                    self.arena.release(id).await?;
                }
            }
            Choice::Person(number) => self.person(number)?,
            Choice::Fault(fault) => self.fault(fault).await?,
            _ => {}
        }
        self.rest().await
    }

    fn invoke(&mut self, by: u16, call: Call) -> Op {
        let op = self.ops;
        self.ops += 1;
        self.calls.push(call);
        self.sightings.event(Event::Invoke { op, by, call });
        op
    }

    fn register(&self, number: u16, request: u16) -> JoinHandle<()> {
        if let Some(program) = self.programs.get(usize::from(number)) {
            // What the network doubles.
            let body = serde_json::from_slice(&program.last().request).ok();
            let url = format!("{}/v1/register", self.arena.bare.url());
            let asked = Asked { method: reqwest::Method::POST, url, bearer: None, body };
            return self.send(asked, Caller::Agent(number, request));
        }
        let agent = &self.agents[usize::from(number)];
        let token = &self.field.tokens[agent.token as usize];
        let nonce = nonce(&self.field.prefix, agent.nonce);
        let base = self.arena.bare.url();
        let asked =
            calls::registration(&base, token.project, &token.plaintext, &handle(&self.field, number), &nonce);
        self.send(asked, Caller::Agent(number, request))
    }

    fn send(&self, asked: Asked, caller: Caller) -> JoinHandle<()> {
        calls::send(&self.arena.callers, asked, caller, self.tell.clone())
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
                let (call, request) =
                    (Call::Redeem { token: agent.token, nonce: agent.nonce }, agent.requests);
                agent.requests += 1;
                let op = self.invoke(number, call);
                self.agents[usize::from(number)].stage = Stage::Waits(op);
                let task = self.register(number, request);
                self.flights.insert((number, request), Flight::new(Some(op), task));
            }
            (Stage::Waits(op), Some(inbox)) => {
                let again = self.take(op, &inbox)?;
                if let Some(program) = self.programs.get(usize::from(number)) {
                    program.answer(if inbox == Inbox::Broken { Verdict::Lose } else { Verdict::Go });
                }
                let agent = &mut self.agents[usize::from(number)];
                agent.stage =
                    if again && agent.requests < self.setup.requests { Stage::Idle } else { Stage::Done };
            }
            (_, inbox) => agent.inbox = inbox,
        }
        Ok(())
    }

    fn person(&mut self, number: u16) -> Result<(), LiveError> {
        // People come after the agents.
        let by = u16::try_from(self.agents.len()).unwrap_or(0) + number;
        let person = &mut self.people[usize::from(number)];
        let call = person.call;
        match (person.stage, person.inbox.take()) {
            (Stage::Idle, _) => {
                let op = self.invoke(by, call);
                let (Call::Revoke { token } | Call::Read { token }) = call else { return Ok(()) };
                let token = &self.field.tokens[token as usize];
                let base = self.arena.bare.url();
                let asked = calls::about_token(&base, call, (token.project, token.id), self.arena.bearer());
                let task = self.send(asked, Caller::Person(number));
                let person = &mut self.people[usize::from(number)];
                (person.stage, person.task) = (Stage::Waits(op), Some(task));
            }
            (Stage::Waits(op), Some(inbox)) => {
                self.take(op, &inbox)?;
                self.people[usize::from(number)].stage = Stage::Done;
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

    async fn fault(&mut self, fault: Fault) -> Result<(), LiveError> {
        self.faults = self.faults.saturating_sub(1);
        self.sightings.event(Event::Fault(Choice::Fault(fault).to_string()));
        match fault {
            Fault::KillServer => {
                // Without space no control plane starts.
                self.space_again().await?;
                self.arena.restart_control_plane().await?;
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
            Fault::Reset(agent, request) => self.break_off(agent, request).await?,
            Fault::KillAgent(number) => {
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
            Fault::LoseReply(agent) => {
                let inbox = &mut self.agents[usize::from(agent)].inbox;
                if inbox.is_some() {
                    *inbox = Some(Inbox::Broken);
                }
            }
            Fault::Duplicate(number) => {
                let agent = &self.agents[usize::from(number)];
                let (call, request) = (
                    Call::Redeem { token: agent.token, nonce: agent.nonce },
                    OF_THE_NETWORK + agent.requests,
                );
                self.invoke(number, call);
                let task = self.register(number, request);
                self.flights.insert((number, request), Flight::new(None, task));
            }
            _ => {}
        }
        Ok(())
    }

    async fn space_again(&mut self) -> Result<(), LiveError> {
        if self.disk_full.take().is_some() { self.arena.space_again().await } else { Ok(()) }
    }

    /// Breaks a request's connection, and waits until the control plane has given it up.
    async fn break_off(&mut self, agent: u16, request: u16) -> Result<(), LiveError> {
        let Some(mut flight) = self.flights.remove(&(agent, request)) else { return Ok(()) };
        flight.task.abort();
        if let Some(program) = self.programs.get(usize::from(agent))
            && request < OF_THE_NETWORK
        {
            program.break_off();
        }
        if let Some(op) = flight.op {
            self.deliver(agent, op, Inbox::Broken);
        }
        let Some(id) = flight.held else { return Ok(()) };
        let begun = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        while self.arena.waiting().await?.iter().any(|held| held.id == id) {
            if begun.elapsed() > AFTERWARDS {
                // It goes on without its caller: some are wrong in this way.
                flight.answered = true;
                self.flights.insert((agent, request), flight);
                break;
            }
            look.tick().await;
        }
        Ok(())
    }

    fn deliver(&mut self, agent: u16, op: Op, inbox: Inbox) {
        let agent = &mut self.agents[usize::from(agent)];
        if agent.stage == Stage::Waits(op) {
            agent.inbox = Some(inbox);
        }
    }

    fn hear(&mut self) {
        for (program, number) in self.programs.iter().zip(0..) {
            let Some((&(agent, request), _)) = self
                .flights
                .range((number, 0)..(number, OF_THE_NETWORK))
                .rfind(|(_, flight)| !flight.answered)
            else {
                continue;
            };
            if let Some(heard) = program.heard() {
                let _ = self.tell.send((Caller::Agent(agent, request), heard));
            }
        }
        while let Ok((caller, heard)) = self.heard.try_recv() {
            let inbox = match heard {
                Heard::Answer { status, body } => {
                    if let Some(refused) = &mut self.disk_full {
                        *refused |= body["code"] == "datastore_unavailable";
                    }
                    Inbox::Answer(status, body)
                }
                Heard::Broken => Inbox::Broken,
            };
            match caller {
                Caller::Agent(agent, request) => {
                    if matches!(inbox, Inbox::Answer(201, _)) {
                        self.tell_apart(agent, request);
                    }
                    let Some(flight) = self.flights.get_mut(&(agent, request)) else { continue };
                    flight.answered = true;
                    flight.goes_on = matches!(inbox, Inbox::Answer(201, _)) && !flight.committed;
                    if !flight.goes_on {
                        // Who still waits at its gate is another request of the same agent.
                        flight.held = None;
                    }
                    if let Some(op) = flight.op {
                        self.deliver(agent, op, inbox);
                    }
                }
                Caller::Person(number) => self.people[usize::from(number)].inbox = Some(inbox),
            }
        }
    }

    /// Requests of one agent look alike at gates: whoever won is the one that came to the last gate.
    fn tell_apart(&mut self, agent: u16, winner: u16) {
        let other = self
            .flights
            .range((agent, 0)..=(agent, u16::MAX))
            .find(|((_, request), flight)| *request != winner && flight.committed && !flight.answered)
            .map(|((_, request), flight)| (*request, flight.held));
        let Some((other, held)) = other else { return };
        let Some(winner) = self.flights.get_mut(&(agent, winner)).filter(|flight| !flight.committed) else {
            return;
        };
        winner.committed = true;
        let was = std::mem::replace(&mut winner.held, held);
        if let Some(other) = self.flights.get_mut(&(agent, other)) {
            (other.committed, other.held) = (false, was);
        }
    }

    /// Waits until everything rests.
    async fn rest(&mut self) -> Result<(), LiveError> {
        let begun = Instant::now();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut tries = 0;
        loop {
            look.tick().await;
            tries += 1;
            let waiting = self.arena.waiting().await?;
            self.hear();
            self.find(&waiting);
            if let Some(refused) = self.disk_full
                && (refused || self.arena.is_going_down().await)
            {
                self.arena.recover_disk().await?;
                self.disk_full = None;
                continue;
            }
            let flying = |flight: &&Flight| flight.held.is_none() && !flight.is_over();
            let asking = |person: &&Person| matches!(person.stage, Stage::Waits(_)) && person.inbox.is_none();
            let running =
                self.flights.values().filter(flying).count() + self.people.iter().filter(asking).count();
            if running == 0 {
                break;
            }
            let blocked = match self.arena.witness.blocked().await {
                Err(_) if self.disk_full.is_some() => continue,
                blocked => blocked?,
            };
            if running <= blocked {
                break;
            }
            if begun.elapsed() > AFTERWARDS {
                // What was answered and is at no gate has come to its end.
                for flight in self.flights.values_mut().filter(|flight| flight.held.is_none()) {
                    flight.goes_on = false;
                }
            }
            if begun.elapsed() > REST_WITHIN {
                let activity = self.arena.witness.activity().await?;
                let flights: Vec<_> =
                    self.flights.iter().filter(|(_, flight)| flight.held.is_none()).collect();
                let last = format!(
                    "{running} requests are neither at a gate nor answered: {flights:?}; at gates: {waiting:?}; the database: {activity:?}"
                );
                let what = "the control plane to come to rest".to_owned();
                return Err(TimedOut { what, within: REST_WITHIN, tries, last }.into());
            }
        }
        self.flights.retain(|_, flight| !flight.is_over());
        Ok(())
    }

    /// Who is at which gate.
    fn find(&mut self, waiting: &[super::arena::Held]) {
        for flight in self.flights.values_mut() {
            if flight.held.is_some_and(|id| !waiting.iter().any(|held| held.id == id)) {
                flight.held = None;
            }
        }
        for held in waiting {
            if self.flights.values().any(|flight| flight.held == Some(held.id)) {
                continue;
            }
            let ours = |number: &u16| handle(&self.field, *number) == held.who;
            let Some(agent) = (0..).take(self.agents.len()).find(ours) else { continue };
            // Requests of one agent look alike; one that was answered may come to a gate, too.
            let mut of_agent: Vec<_> =
                self.flights.range_mut((agent, 0)..=(agent, u16::MAX)).map(|(_, flight)| flight).collect();
            of_agent.sort_by_key(|flight| (flight.held.is_some(), flight.answered));
            if let Some(flight) = of_agent.into_iter().next().filter(|flight| flight.held.is_none()) {
                flight.held = Some(held.id);
                flight.committed |= held.gate == LAST_GATE;
            }
        }
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

    /// What happened.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn into_played(mut self, settled: bool) -> Result<Played, LiveError> {
        self.space_again().await?;
        let written = self.arena.witness.news().await?;
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
