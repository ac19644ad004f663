//! Agents that register, people that revoke and look, and the control plane between them.
//!
//! An agent asks again with the same nonce when its connection breaks or it is told 503, is content with 201, and
//! ends with 403; when it is killed it comes back with a new nonce. The clock stands still but for jumps.

use std::net::IpAddr;

use plexlab_rules::registration::Moment;

use super::Model;
use super::choice::{Choice, Fault};
use super::database::{Database, Lock, TokenRow, Transaction};
use super::defects::Defect;
use super::footprint::{Footprint, Thing};
use super::handler::{Brought, Handler, Server};
use crate::history::{Call, Change, Entry, Event, Ground, History, Op, Reply};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Tokens, Projects and pools.
    pub ground: Ground,
    /// The token of each agent.
    pub agents: Vec<u32>,
    /// All agents have the same nonce.
    pub one_nonce: bool,
    /// What people do.
    pub people: Vec<Call>,
    /// How often an agent asks before it gives up.
    pub requests: u16,
    /// How many things may break.
    pub faults: u16,
    /// What is wrong with the control plane.
    pub defect: Option<Defect>,
}

/// What comes back to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbox {
    Reply(Reply),
    /// The connection broke.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Waits(Op),
    Done,
}

#[derive(Debug, Clone)]
struct Agent {
    token: u32,
    nonce: u32,
    stage: Stage,
    inbox: Option<Inbox>,
    requests: u16,
}

#[derive(Debug, Clone)]
struct Person {
    call: Call,
    stage: Stage,
    inbox: Option<Reply>,
    desk: Desk,
}

/// The control plane's side of a person's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desk {
    Asked,
    Looked(TokenRow, Transaction),
    Through,
}

/// The whole.
#[derive(Debug, Clone)]
pub struct Enrolment {
    setup: std::rc::Rc<Setup>,
    agents: Vec<Agent>,
    people: Vec<Person>,
    handlers: Vec<Handler>,
    database: Database,
    first_rows: Vec<TokenRow>,
    winners: Vec<(u32, u32, IpAddr)>,
    nodes: u32,
    disk_full: bool,
    now: Moment,
    faults: u16,
    ops: Op,
    history: History,
}

/// Requests of agents that the network made.
pub const OF_THE_NETWORK: u16 = 32;

impl Enrolment {
    /// Before anything happens.
    pub fn new(setup: Setup) -> Self {
        let agents = setup.agents.iter().enumerate().map(|(number, token)| Agent {
            token: *token,
            nonce: if setup.one_nonce { 1 } else { u32::try_from(number).unwrap_or(0) + 1 },
            stage: Stage::Idle,
            inbox: None,
            requests: 0,
        });
        let people = setup.people.iter().map(|call| Person {
            call: *call,
            stage: Stage::Idle,
            inbox: None,
            desk: Desk::Asked,
        });
        let database = Database::new(&setup.ground, setup.defect);
        Self {
            agents: agents.collect(),
            people: people.collect(),
            handlers: Vec::new(),
            first_rows: database.snapshot(),
            database,
            winners: Vec::new(),
            nodes: 0,
            disk_full: false,
            now: 0,
            faults: setup.faults,
            ops: 0,
            history: History { ground: setup.ground.clone(), ..History::default() },
            setup: std::rc::Rc::new(setup),
        }
    }

    /// What it was made of.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    fn add(&mut self, event: Event) {
        self.history.entries.push(Entry { at: self.now, event });
    }

    fn invoke(&mut self, by: u16, call: Call, touched: &mut Footprint) -> Op {
        let op = self.ops;
        self.ops += 1;
        touched.read_answers();
        self.add(Event::Invoke { op, by, call });
        op
    }

    /// The handler with what it needs of the server.
    fn with_server<R>(&mut self, act: impl FnOnce(&mut Server<'_>) -> R) -> R {
        act(&mut Server {
            database: &mut self.database,
            ground: &self.setup.ground,
            defect: self.setup.defect,
            now: self.now,
            nodes: &mut self.nodes,
            disk_full: &mut self.disk_full,
            winners: &mut self.winners,
        })
    }

    fn handler(&self, agent: u16, request: u16) -> Option<usize> {
        self.handlers.iter().position(|handler| (handler.agent, handler.request) == (agent, request))
    }

    fn take_in(&mut self, index: usize, brought: Brought) {
        let (agent, op) = (self.handlers[index].agent, self.handlers[index].op);
        if let Some(changes) = brought.committed {
            self.add(Event::Changed(changes));
        }
        if let Some(reply) = brought.reply {
            self.deliver(agent, op, Inbox::Reply(reply));
        }
        if brought.done {
            self.handlers.swap_remove(index);
            self.handlers.sort_unstable_by_key(|handler| (handler.agent, handler.request));
        }
    }

    /// Nobody waits for what the network asked twice, or for an answer to a call that was given up.
    fn deliver(&mut self, agent: u16, op: Option<Op>, what: Inbox) {
        let agent = &mut self.agents[usize::from(agent)];
        if let Some(op) = op
            && agent.stage == Stage::Waits(op)
        {
            agent.inbox = Some(what);
        }
    }

    fn agent(&mut self, number: u16, touched: &mut Footprint) {
        let agent = self.agents[usize::from(number)].clone();
        match (agent.stage, agent.inbox) {
            (Stage::Idle, _) => {
                let call = Call::Redeem { token: agent.token, nonce: agent.nonce };
                let op = self.invoke(number, call, touched);
                let which = (agent.token, agent.nonce);
                let handler = self.with_server(|server| {
                    Handler::new((number, agent.requests), Some(op), which, server, touched)
                });
                self.handlers.push(handler);
                self.handlers.sort_unstable_by_key(|handler| (handler.agent, handler.request));
                let agent = &mut self.agents[usize::from(number)];
                agent.stage = Stage::Waits(op);
                agent.requests += 1;
            }
            (Stage::Waits(op), Some(what)) => {
                touched.write(Thing::Answer(number));
                self.add(match what {
                    Inbox::Reply(reply) => Event::Return { op, reply },
                    Inbox::Broken => Event::Lost { op },
                });
                let again = matches!(what, Inbox::Broken | Inbox::Reply(Reply::Unavailable));
                let agent = &mut self.agents[usize::from(number)];
                agent.inbox = None;
                agent.stage =
                    if again && agent.requests < self.setup.requests { Stage::Idle } else { Stage::Done };
            }
            _ => {}
        }
    }

    fn person(&mut self, number: u16, touched: &mut Footprint) {
        let person = self.people[usize::from(number)].clone();
        // People come after the agents.
        let by = u16::try_from(self.agents.len()).unwrap_or(0) + number;
        match (person.stage, person.inbox) {
            (Stage::Idle, _) => {
                let op = self.invoke(by, person.call, touched);
                self.people[usize::from(number)].stage = Stage::Waits(op);
            }
            (Stage::Waits(op), Some(reply)) => {
                touched.write(Thing::Answer(by));
                self.add(Event::Return { op, reply });
                self.people[usize::from(number)].stage = Stage::Done;
            }
            _ => {}
        }
    }

    fn desk(&mut self, number: u16, touched: &mut Footprint) {
        let person = self.people[usize::from(number)].clone();
        let defect = self.setup.defect;
        let (desk, reply) = match (person.call, person.desk) {
            (Call::Read { token }, _) => {
                let row = match defect {
                    Some(Defect::ReadsStale) => self.first_rows[token as usize],
                    _ => self.database.token(token, touched),
                };
                let state = Reply::State { consumed: row.consumed.is_some(), revoked: row.revoked };
                (Desk::Through, Some(state))
            }
            (Call::Revoke { token }, Desk::Asked) => {
                let transaction = self.database.begin();
                if defect != Some(Defect::RevokesUnlocked) {
                    self.database.lock(Lock::Token(token), transaction, touched);
                }
                let row = self.database.token(token, touched);
                (Desk::Looked(row, transaction), None)
            }
            (Call::Revoke { token }, Desk::Looked(row, transaction)) => {
                let late = row.revoked || row.consumed.is_some() && defect != Some(Defect::RevokesConsumed);
                if late {
                    self.database.roll_back(transaction, touched);
                    let lies = defect == Some(Defect::RevocationLies);
                    (Desk::Through, Some(if lies { Reply::Done } else { Reply::Terminal }))
                } else {
                    let changes = vec![Change::Revoked { token }];
                    let setup = self.setup.clone();
                    self.database.commit(transaction, &changes, &setup.ground, touched);
                    self.add(Event::Changed(changes));
                    (Desk::Through, Some(Reply::Done))
                }
            }
            (_, desk) => (desk, None),
        };
        let person = &mut self.people[usize::from(number)];
        person.desk = desk;
        person.inbox = reply;
    }

    fn desk_can_step(&self, person: &Person) -> bool {
        let held = |token, me| self.database.is_held(Lock::Token(token), me);
        matches!(person.stage, Stage::Waits(_))
            && match (person.call, person.desk) {
                (_, Desk::Through) => false,
                (Call::Revoke { token }, Desk::Asked) => {
                    self.setup.defect == Some(Defect::RevokesUnlocked) || !held(token, 0)
                }
                (Call::Revoke { token }, Desk::Looked(_, transaction)) => !held(token, transaction),
                _ => true,
            }
    }

    fn fault(&mut self, fault: Fault, touched: &mut Footprint) {
        *touched = Footprint::ALL;
        self.faults -= 1;
        self.add(Event::Fault(Choice::Fault(fault).to_string()));
        match fault {
            Fault::KillServer => {
                for mut handler in std::mem::take(&mut self.handlers) {
                    handler.drop_transaction(&mut self.database, touched);
                    self.deliver(handler.agent, handler.op, Inbox::Broken);
                }
                // What was sent already arrives; what people asked is asked again of the new process.
                for person in &mut self.people {
                    if let Desk::Looked(_, transaction) = person.desk {
                        self.database.roll_back(transaction, touched);
                        person.desk = Desk::Asked;
                    }
                }
            }
            Fault::KillAgent(number) => {
                let agent = &mut self.agents[usize::from(number)];
                if let Stage::Waits(op) = agent.stage {
                    agent.inbox = None;
                    agent.stage = Stage::Idle;
                    agent.nonce += 1000;
                    self.add(Event::Lost { op });
                }
            }
            Fault::Reset(agent, request) => {
                if let Some(index) = self.handler(agent, request) {
                    let mut handler = self.handlers.remove(index);
                    handler.drop_transaction(&mut self.database, touched);
                    self.deliver(agent, handler.op, Inbox::Broken);
                }
            }
            Fault::LoseReply(agent) => {
                let agent = &mut self.agents[usize::from(agent)];
                if agent.inbox.is_some() {
                    agent.inbox = Some(Inbox::Broken);
                }
            }
            Fault::Duplicate(number) => {
                let agent = self.agents[usize::from(number)].clone();
                let call = Call::Redeem { token: agent.token, nonce: agent.nonce };
                self.invoke(number, call, touched);
                let which = (number, OF_THE_NETWORK + agent.requests);
                let handler = self.with_server(|server| {
                    Handler::new(which, None, (agent.token, agent.nonce), server, touched)
                });
                self.handlers.push(handler);
                self.handlers.sort_unstable_by_key(|handler| (handler.agent, handler.request));
            }
            Fault::Jump => {
                let next = self.setup.ground.tokens.iter().map(|token| token.expires_at);
                self.now = next.filter(|expiry| *expiry > self.now).min().unwrap_or(self.now + 1);
            }
            Fault::RestartDatabase => {
                self.database.restart();
                for mut handler in std::mem::take(&mut self.handlers) {
                    match self.with_server(|server| handler.database_restarted(server)) {
                        Some(reply) => self.deliver(handler.agent, handler.op, Inbox::Reply(reply)),
                        None => self.handlers.push(handler),
                    }
                }
                for person in &mut self.people {
                    if matches!(person.desk, Desk::Looked(..)) {
                        person.desk = Desk::Through;
                        person.inbox = Some(Reply::Unavailable);
                    }
                }
            }
            Fault::DiskFull => self.disk_full = true,
            Fault::Impatience(agent, request) => {
                if let Some(index) = self.handler(agent, request) {
                    let mut handler = self.handlers[index].clone();
                    let brought = self.with_server(|server| handler.give_up(server, touched));
                    self.handlers[index] = handler;
                    self.take_in(index, brought);
                }
            }
            Fault::KillBroker(_) | Fault::SubstrateFails | Fault::RestartCluster => {}
        }
    }

    fn faults(&self, into: &mut Vec<Choice>) {
        let mut fault = |fault| into.push(Choice::Fault(fault));
        if !self.handlers.is_empty() {
            fault(Fault::KillServer);
            fault(Fault::RestartDatabase);
            if !self.disk_full {
                fault(Fault::DiskFull);
            }
        }
        if self.setup.ground.tokens.iter().any(|token| token.expires_at >= self.now) {
            fault(Fault::Jump);
        }
        for handler in &self.handlers {
            fault(Fault::Reset(handler.agent, handler.request));
            if handler.waits_for_allocator(&self.database, &self.setup.ground) {
                fault(Fault::Impatience(handler.agent, handler.request));
            }
        }
        for (number, agent) in self.agents.iter().enumerate() {
            let number = u16::try_from(number).unwrap_or(0);
            match (agent.stage, agent.inbox) {
                (Stage::Waits(_), Some(Inbox::Reply(_))) => fault(Fault::LoseReply(number)),
                (Stage::Waits(_), None) => {
                    if agent.requests < self.setup.requests {
                        fault(Fault::KillAgent(number));
                    }
                    if self.handler(number, OF_THE_NETWORK + agent.requests).is_none() {
                        fault(Fault::Duplicate(number));
                    }
                }
                _ => {}
            }
        }
    }
}

impl Model for Enrolment {
    fn choices(&self, into: &mut Vec<Choice>) {
        into.clear();
        for (number, agent) in self.agents.iter().enumerate() {
            let number = u16::try_from(number).unwrap_or(0);
            if agent.stage == Stage::Idle || matches!(agent.stage, Stage::Waits(_)) && agent.inbox.is_some() {
                into.push(Choice::Agent(number));
            }
        }
        for handler in &self.handlers {
            if handler.can_step(&self.database, &self.setup.ground) {
                into.push(Choice::Server(handler.agent, handler.request));
            }
        }
        for (number, person) in self.people.iter().enumerate() {
            let number = u16::try_from(number).unwrap_or(0);
            if person.stage == Stage::Idle
                || matches!(person.stage, Stage::Waits(_)) && person.inbox.is_some()
            {
                into.push(Choice::Person(number));
            }
            if self.desk_can_step(person) {
                into.push(Choice::Desk(number));
            }
        }
        // When nothing else can happen, nothing is left to break.
        if self.faults > 0 && !into.is_empty() {
            self.faults(into);
        }
    }

    fn step(&mut self, choice: Choice) -> Footprint {
        let mut touched = Footprint::default();
        match choice {
            Choice::Agent(number) => self.agent(number, &mut touched),
            Choice::Server(agent, request) => {
                if let Some(index) = self.handler(agent, request) {
                    let mut handler = self.handlers[index].clone();
                    let brought = self.with_server(|server| handler.step(server, &mut touched));
                    self.handlers[index] = handler;
                    self.take_in(index, brought);
                }
            }
            Choice::Person(number) => self.person(number, &mut touched),
            Choice::Desk(number) => self.desk(number, &mut touched),
            Choice::Fault(fault) => self.fault(fault, &mut touched),
            _ => {}
        }
        touched
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn into_history(mut self) -> History {
        self.history.settled = true;
        self.history
    }
}
