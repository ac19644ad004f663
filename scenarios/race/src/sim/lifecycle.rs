//! A provisioned Resource from its declaration to its end: two brokers with an old view of the cluster, people that
//! delete, a substrate that comes up or fails, an enrolment Job, and watchers.
//!
//! The brokers decide with [`plexlab_rules::lifecycle::Policy`], as the stand-in's do; each of their effects is a step.

use std::net::IpAddr;
use std::rc::Rc;

use plexlab_rules::lifecycle::Policy;
use plexlab_rules::phase::{MeshRole, Phase};
use plexlab_rules::step::{Composite, Facts, Reading, Step, TokenState, read};

use super::Model;
use super::choice::{Choice, Fault};
use super::defects::Defect;
use super::footprint::{Footprint, Thing};
use crate::history::{
    Call, Change, Entry, Event, Ground, History, Op, ProjectGround, Reply, Substrate, TokenGround,
};

const ROLE: MeshRole = MeshRole::Node;
/// The Resource.
const RESOURCE: u32 = 0;
/// Tokens that can be minted before a run is cut off: brokers that are killed again and again need some.
const TOKENS: usize = 64;
/// Numbers of watchers begin here.
const WATCHERS: u16 = 10;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How often somebody deletes the Resource.
    pub deletions: u16,
    /// How many watch.
    pub watchers: u16,
    /// How many brokers there are.
    pub brokers: u16,
    /// How many things may break.
    pub faults: u16,
    /// What is wrong.
    pub defect: Option<Defect>,
}

/// The Composite Resource, with the number of the token in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    token: u32,
    ready: bool,
    failed: bool,
}

/// What a broker is in the middle of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// It has looked and decided.
    Decided(Phase, Step),
    /// A token is in the tables; the Composite Resource is not made yet.
    Minted(u32),
    /// The Composite Resource was asked for; it has not looked what is there now.
    Made(u32),
    /// It has looked again; the phase does not stand in the tables yet. With a token in the Composite Resource only
    /// when that still counts.
    Writes(Phase, Option<u32>),
    /// It has looked again; the Composite Resource with this token is not removed yet.
    Discards(u32),
    /// The Composite Resource is gone; the phase has not moved.
    Removed(Phase),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Asked(Op),
    Answered(Op),
    Done,
}

/// The whole.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    setup: Rc<Setup>,
    phase: Phase,
    tokens: Vec<TokenState>,
    object: Option<Object>,
    node: Option<u32>,
    nodes: u32,
    anchored: bool,
    /// What the watch shows.
    cached: Option<Object>,
    brokers: Vec<Doing>,
    people: Vec<Stage>,
    seen: Vec<Phase>,
    faults: u16,
    ops: Op,
    history: History,
}

impl Lifecycle {
    /// Before anything happens.
    pub fn new(setup: Setup) -> Self {
        let ground = Ground {
            tokens: vec![TokenGround { project: 0, expires_at: i64::MAX }; TOKENS],
            projects: vec![ProjectGround { domain: 0, sub_range: None }],
            pools: vec!["10.0.0.0/24".to_owned()],
            resources: vec![ROLE],
            assignments: Vec::new(),
        };
        Self {
            phase: Phase::Pending,
            tokens: Vec::new(),
            object: None,
            node: None,
            nodes: 0,
            anchored: false,
            cached: None,
            brokers: vec![Doing::Nothing; usize::from(setup.brokers)],
            people: vec![Stage::Idle; usize::from(setup.deletions)],
            seen: vec![Phase::Pending; usize::from(setup.watchers)],
            faults: setup.faults,
            ops: 0,
            history: History { ground, ..History::default() },
            setup: Rc::new(setup),
        }
    }

    /// What it was made of.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    fn add(&mut self, event: Event) {
        self.history.entries.push(Entry { at: 0, event });
    }

    fn policy(&self) -> Policy {
        let defect = match self.setup.defect {
            Some(Defect::Lifecycle(defect)) => Some(defect),
            _ => None,
        };
        Policy { defect }
    }

    fn facts(&self, object: Option<Object>) -> Facts {
        let carried = object.map_or(TokenState::None, |object| self.tokens[object.token as usize]);
        let Reading { token, stale } = read(self.phase, ROLE, self.tokens.iter().copied(), carried);
        let object = object.filter(|_| !stale);
        let registered = u32::from(self.node.is_some());
        Facts {
            namespace_ready: true,
            composite: object.map_or(Composite::Absent, |object| Composite::Present {
                ready: object.ready,
                terminating: false,
                terminal: object.failed.then(|| "it failed".to_owned()),
            }),
            token,
            registered_nodes: registered,
            anchored_nodes: if self.anchored { registered } else { 0 },
        }
    }

    /// The next step of a broker that sees this object.
    fn decide(&self, object: Option<Object>) -> Step {
        self.policy().next(self.phase, ROLE, &self.facts(object))
    }

    /// Whether a step is one that looks again before it acts.
    fn looks_again(step: &Step, phase: Phase) -> bool {
        matches!(step, Step::Apply | Step::Discard)
            || phase == Phase::Pending && matches!(step, Step::Move(_) | Step::Fail(_))
    }

    /// Whether a broker with nothing under way has something to do. Looking again in vain is not: it changes nothing.
    fn broker_has_work(&self) -> bool {
        if self.phase == Phase::Deleted {
            return self.object.is_some() && self.policy().sweeps();
        }
        match self.decide(self.cached) {
            Step::Wait | Step::EnsureNamespace => false,
            step if Self::looks_again(&step, self.phase) => match self.decide(self.object) {
                Step::Wait | Step::EnsureNamespace => false,
                Step::Apply => !self.tokens.contains(&TokenState::Consumed) && self.tokens.len() < TOKENS,
                _ => true,
            },
            _ => true,
        }
    }

    /// The guarded move of the tables.
    fn move_to(&mut self, from: Phase, to: Phase) {
        if self.phase != from && self.policy().guards_moves() {
            return;
        }
        let mut changes = vec![Change::Phase { resource: RESOURCE, from: self.phase, to }];
        if to == Phase::Failed && self.policy().failure_revokes() {
            self.revoke(&mut changes);
        }
        self.phase = to;
        self.add(Event::Changed(changes));
    }

    fn revoke(&mut self, changes: &mut Vec<Change>) {
        for (number, token) in (0_u32..).zip(&mut self.tokens) {
            if matches!(token, TokenState::Live | TokenState::Expired) {
                *token = TokenState::Revoked;
                changes.push(Change::Revoked { token: number });
            }
        }
    }

    fn broker(&mut self, who: usize, touched: &mut Footprint) {
        touched.write(Thing::Row(0));
        touched.write(Thing::Cluster);
        match std::mem::replace(&mut self.brokers[who], Doing::Nothing) {
            Doing::Nothing if self.phase == Phase::Deleted => {
                // Nobody owns it any more.
                self.object = None;
                self.add(Event::Cluster { resource: RESOURCE, what: Substrate::Swept });
            }
            Doing::Nothing => self.brokers[who] = Doing::Decided(self.phase, self.decide(self.cached)),
            Doing::Decided(from, step) => self.act(who, from, step),
            Doing::Minted(token) => {
                // Making leaves one that is there as it is.
                if self.object.is_none() {
                    self.object = Some(Object { token, ready: false, failed: false });
                    self.add(Event::Cluster { resource: RESOURCE, what: Substrate::Made });
                }
                self.brokers[who] = Doing::Made(token);
            }
            Doing::Made(token) => {
                if self.object.is_some_and(|object| object.token == token) {
                    self.brokers[who] = Doing::Writes(Phase::Provisioning, Some(token));
                }
            }
            Doing::Writes(to, carried) => {
                let counts = |token: u32| self.policy().moves_with(self.tokens[token as usize]);
                if carried.is_none_or(counts) {
                    self.move_to(Phase::Pending, to);
                }
            }
            // It is deleted by its UID: another in its place stays.
            Doing::Discards(token) => {
                if self.object.is_some_and(|object| object.token == token) {
                    self.object = None;
                    self.add(Event::Cluster { resource: RESOURCE, what: Substrate::Swept });
                }
            }
            Doing::Removed(from) => self.move_to(from, Phase::Deleted),
        }
    }

    fn act(&mut self, who: usize, from: Phase, step: Step) {
        match step {
            Step::Wait | Step::EnsureNamespace => {}
            step if Self::looks_again(&step, from) => self.build(who, from),
            Step::Move(to) => self.move_to(from, to),
            Step::Fail(_) => self.move_to(from, Phase::Failed),
            Step::Deregister => {
                self.anchored = false;
                if let Some(node) = self.node.take() {
                    self.add(Event::Changed(vec![Change::NodeGone { node }]));
                }
            }
            Step::Delete => {
                self.object = None;
                self.add(Event::Cluster { resource: RESOURCE, what: Substrate::Deleted });
                self.brokers[who] = Doing::Removed(from);
            }
            Step::Apply | Step::Discard => {}
        }
    }

    /// What is there now decides; what it led to is a step of its own.
    fn build(&mut self, who: usize, from: Phase) {
        if self.phase != from {
            return;
        }
        let carried = self.object.map(|object| object.token);
        match self.decide(self.object) {
            Step::Move(to) => self.brokers[who] = Doing::Writes(to, carried),
            Step::Fail(_) => self.brokers[who] = Doing::Writes(Phase::Failed, None),
            Step::Discard => self.brokers[who] = carried.map_or(Doing::Nothing, Doing::Discards),
            Step::Apply if !self.tokens.contains(&TokenState::Consumed) && self.tokens.len() < TOKENS => {
                let mut changes = Vec::new();
                self.revoke(&mut changes);
                let token = u32::try_from(self.tokens.len()).unwrap_or(0);
                self.tokens.push(TokenState::Live);
                changes.push(Change::Minted { token, resource: RESOURCE });
                self.add(Event::Changed(changes));
                self.brokers[who] = Doing::Minted(token);
            }
            _ => {}
        }
    }

    /// The token that the Job can redeem.
    fn redeemable(&self) -> Option<u32> {
        let token = self.object?.token;
        (self.tokens[token as usize] == TokenState::Live).then_some(token)
    }

    fn job(&mut self, touched: &mut Footprint) {
        touched.write(Thing::Row(0));
        let Some(token) = self.redeemable() else { return };
        self.tokens[token as usize] = TokenState::Consumed;
        let node = self.nodes;
        self.nodes += 1;
        self.node = Some(node);
        let address = IpAddr::from([10, 0, 0, u8::try_from(node + 1).unwrap_or(1)]);
        self.add(Event::Changed(vec![
            Change::Node { node, token, resource: RESOURCE, address },
            Change::Consumed { token, nonce: node, node, at: 0 },
        ]));
    }

    fn delete(&mut self) {
        if let Some(to) = self.policy().deleted_by_caller(self.phase, ROLE) {
            let mut changes = vec![Change::Phase { resource: RESOURCE, from: self.phase, to }];
            if self.policy().deletion_revokes() {
                self.revoke(&mut changes);
            }
            self.phase = to;
            self.add(Event::Changed(changes));
        }
    }

    fn person(&mut self, number: u16, touched: &mut Footprint) {
        touched.write(Thing::Answer(number));
        let stage = match self.people[usize::from(number)] {
            Stage::Idle => {
                touched.read_answers();
                let op = self.ops;
                self.ops += 1;
                self.add(Event::Invoke { op, by: number, call: Call::Delete { resource: RESOURCE } });
                Stage::Asked(op)
            }
            Stage::Answered(op) => {
                self.add(Event::Return { op, reply: Reply::Done });
                Stage::Done
            }
            stage => stage,
        };
        self.people[usize::from(number)] = stage;
    }

    fn fault(&mut self, fault: Fault) {
        self.faults -= 1;
        self.add(Event::Fault(Choice::Fault(fault).to_string()));
        match fault {
            Fault::KillBroker(who) => self.brokers[usize::from(who)] = Doing::Nothing,
            Fault::SubstrateFails => {
                if let Some(object) = &mut self.object {
                    object.failed = true;
                }
            }
            Fault::Jump => {
                for token in &mut self.tokens {
                    if *token == TokenState::Live {
                        *token = TokenState::Expired;
                    }
                }
            }
            Fault::RestartCluster => self.cached = None,
            _ => {}
        }
    }
}

impl Model for Lifecycle {
    fn choices(&self, into: &mut Vec<Choice>) {
        into.clear();
        for (who, doing) in (0_u16..).zip(&self.brokers) {
            if *doing != Doing::Nothing || self.broker_has_work() {
                into.push(Choice::Broker(who));
            }
        }
        if self.cached != self.object {
            into.push(Choice::Watch);
        }
        if self.object.is_some_and(|object| !object.ready && !object.failed) {
            into.push(Choice::Substrate);
        }
        if self.redeemable().is_some() && self.object.is_some_and(|object| object.ready) {
            into.push(Choice::Job);
        }
        if self.node.is_some() && !self.anchored {
            into.push(Choice::Outbox);
        }
        for (number, stage) in (0_u16..).zip(&self.people) {
            match stage {
                Stage::Idle | Stage::Answered(_) => into.push(Choice::Person(number)),
                Stage::Asked(_) => into.push(Choice::Desk(number)),
                Stage::Done => {}
            }
        }
        for (number, seen) in (0_u16..).zip(&self.seen) {
            if *seen != self.phase {
                into.push(Choice::Watcher(number));
            }
        }
        if self.faults > 0 && !into.is_empty() {
            for (who, doing) in (0_u16..).zip(&self.brokers) {
                if *doing != Doing::Nothing {
                    into.push(Choice::Fault(Fault::KillBroker(who)));
                }
            }
            if self.object.is_some_and(|object| !object.failed) {
                into.push(Choice::Fault(Fault::SubstrateFails));
            }
            if self.tokens.contains(&TokenState::Live) {
                into.push(Choice::Fault(Fault::Jump));
            }
            if self.cached.is_some() {
                into.push(Choice::Fault(Fault::RestartCluster));
            }
        }
    }

    fn step(&mut self, choice: Choice) -> Footprint {
        let mut touched = Footprint::default();
        match choice {
            Choice::Broker(who) => self.broker(usize::from(who), &mut touched),
            Choice::Watch => {
                touched.write(Thing::Cluster);
                self.cached = self.object;
            }
            Choice::Substrate => {
                touched.write(Thing::Cluster);
                if let Some(object) = &mut self.object {
                    object.ready = true;
                }
            }
            Choice::Job => {
                touched.write(Thing::Cluster);
                self.job(&mut touched);
            }
            Choice::Outbox => {
                touched.write(Thing::Row(0));
                self.anchored = true;
                if let Some(node) = self.node {
                    self.add(Event::Changed(vec![Change::Anchored { node }]));
                }
            }
            Choice::Person(number) => self.person(number, &mut touched),
            Choice::Desk(number) => {
                touched.write(Thing::Row(0));
                touched.write(Thing::Answer(number));
                if let Stage::Asked(op) = self.people[usize::from(number)] {
                    self.delete();
                    self.people[usize::from(number)] = Stage::Answered(op);
                }
            }
            Choice::Watcher(number) => {
                touched.read(Thing::Row(0));
                self.seen[usize::from(number)] = self.phase;
                let phase = self.phase;
                self.add(Event::Saw { watcher: WATCHERS + number, resource: RESOURCE, phase });
            }
            Choice::Fault(fault) => {
                touched = Footprint::ALL;
                self.fault(fault);
            }
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
