//! Many agents that are programs: each a process that registers (`join`) and ends, all through one proxy, which sees what
//! is asked and answered. They race as the machine lets them; when an agent asks again is its own affair.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use plexlab_harness::backend::supervised::Supervised;
use plexlab_harness::proxy::{Outcome, Passing, Proxy};
use plexlab_lab::TimedOut;
use plexlab_race::history::{CROWD, Call, Event, Op};
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_race::sim::random::Random;
use serde_json::Value;
use tokio::sync::mpsc;

use super::arena::{Arena, LiveError};
use super::calls::understood;
use super::cast::Cast;
use super::crowd::breaks;
use super::field::Field;
use super::history::{Numbers, Seen, Sightings};
use super::play::Played;
use super::programs::{AgentProgram, REGISTER, start};
use super::world::handle;

/// So many run at a time: more would only wait for a processor.
const AT_ONCE: usize = 64;
/// Between two looks at who has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long nothing at all may happen. An agent's own pauses before it asks again are shorter.
const ANYTHING_WITHIN: Duration = Duration::from_secs(90);

struct Herd<'a> {
    arena: &'a mut Arena,
    program: &'a AgentProgram,
    cast: &'a Cast,
    field: Field,
    url: String,
    dir: PathBuf,
    sightings: Sightings,
    /// The agent of a handle.
    handles: HashMap<String, u16>,
    running: BTreeMap<u16, Supervised>,
    /// How often each was started.
    starts: Vec<u32>,
    /// The next that was never started.
    next: u16,
    /// The operation of an exchange that is not over.
    open: HashMap<u64, Op>,
    nonces: HashMap<String, u32>,
    calls: Vec<Call>,
    answers: usize,
}

/// Plays the race of a seed.
pub(super) async fn play(
    arena: &mut Arena,
    program: &AgentProgram,
    cast: &Cast,
    (seed, number): (u64, u64),
) -> Result<Played, LiveError> {
    let mut random = Random::new(seed.rotate_left(17) ^ number);
    let field = Field::prepare(arena, cast).await?;
    arena.set_gates(false).await?;
    arena.witness.begin().await?;
    let mut breaks = breaks(&mut random, cast);
    let (tell, mut heard) = mpsc::unbounded_channel();
    let proxy = Proxy::telling(&arena.bare.url(), REGISTER, tell).await?;
    let numbered = (0..).take(cast.agents.len());
    let mut herd = Herd {
        dir: arena.bare.directory().join("agents"),
        handles: numbered.map(|agent| (handle(&field, agent), agent)).collect(),
        arena,
        program,
        cast,
        field,
        url: proxy.url(),
        sightings: Sightings::default(),
        running: BTreeMap::new(),
        starts: vec![0; cast.agents.len()],
        next: 0,
        open: HashMap::new(),
        nonces: HashMap::new(),
        calls: Vec::new(),
        answers: 0,
    };
    herd.sightings.event(Event::Fault(CROWD.to_owned()));
    let mut schedule = Vec::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut last = Instant::now();
    loop {
        herd.fill()?;
        if herd.is_over() {
            break;
        }
        if breaks.last().is_some_and(|after| *after <= herd.answers) {
            breaks.pop();
            schedule.push(Choice::Fault(herd.break_something(&mut random).await?));
            last = Instant::now();
        }
        let moved = tokio::select! {
            Some(passing) = heard.recv() => herd.take(passing).map(|()| true)?,
            _ = look.tick() => herd.reap(),
        };
        if moved {
            last = Instant::now();
        } else if last.elapsed() > ANYTHING_WITHIN {
            return Err(herd.late());
        }
    }
    proxy.stop().await;
    let written = herd.arena.witness.news().await?;
    let tokens = cast.agents.iter().zip(0_u16..);
    let handles: HashMap<String, u32> =
        tokens.map(|(token, number)| (handle(&herd.field, number), *token)).collect();
    let Herd { field, sightings, nonces, .. } = herd;
    let numbers = Numbers { handles: &handles, nonces: &nonces };
    let history = sightings.history(&field, &written, &numbers, true);
    Ok(Played { schedule, history, field, logs: BTreeMap::new() })
}

impl Herd<'_> {
    fn is_over(&self) -> bool {
        usize::from(self.next) == self.starts.len() && self.running.is_empty() && self.open.is_empty()
    }

    /// Starts as many as may run.
    fn fill(&mut self) -> Result<(), LiveError> {
        while self.running.len() < AT_ONCE && usize::from(self.next) < self.starts.len() {
            self.start(self.next)?;
            self.next += 1;
        }
        Ok(())
    }

    fn start(&mut self, agent: u16) -> Result<(), LiveError> {
        let place = usize::from(agent);
        self.starts[place] += 1;
        let name = handle(&self.field, agent);
        let dir = self.dir.join(&name).join(self.starts[place].to_string());
        let token = &self.field.tokens[self.cast.agents[place] as usize];
        let process = start(self.program, "join", (&self.url, &name, token), &dir)?;
        self.running.insert(agent, process);
        Ok(())
    }

    /// Whether somebody has ended.
    fn reap(&mut self) -> bool {
        let before = self.running.len();
        self.running.retain(|_, process| process.ended().is_none());
        self.running.len() < before
    }

    fn take(&mut self, passing: Passing) -> Result<(), LiveError> {
        match passing {
            Passing::Asked { at, number, request } => {
                let body: Value = serde_json::from_slice(&request).unwrap_or_default();
                // The older agent calls it so.
                let name = body["resource_handle"].as_str().or_else(|| body["hostname"].as_str());
                let Some(&agent) = self.handles.get(name.unwrap_or_default()) else { return Ok(()) };
                let fresh = u32::try_from(self.nonces.len()).unwrap_or(0) + 1;
                // An agent without nonces gets another each time, of the control plane.
                let nonce =
                    body["nonce"].as_str().map_or_else(|| format!("exchange {number}"), str::to_owned);
                let nonce = *self.nonces.entry(nonce).or_insert(fresh);
                let call = Call::Redeem { token: self.cast.agents[usize::from(agent)], nonce };
                let op = Op::try_from(self.calls.len()).unwrap_or(Op::MAX);
                self.calls.push(call);
                let invoked = Seen::Event(Event::Invoke { op, by: agent, call });
                self.sightings.add_at(at.as_microsecond(), invoked);
                self.open.insert(number, op);
            }
            Passing::Over { at, number, outcome } => {
                let Some(op) = self.open.remove(&number) else { return Ok(()) };
                self.answers += 1;
                let seen = match outcome {
                    Outcome::Pending | Outcome::Broken => Seen::Event(Event::Lost { op }),
                    Outcome::Answered(status, body) => {
                        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                        let call = self.calls[op as usize];
                        let answer =
                            understood(call, status, &body).ok_or_else(|| LiveError::Unexpected {
                                call: format!("{call:?}"),
                                status,
                                body: self.arena.redactor.redact(&body.to_string()).into_owned(),
                            })?;
                        Seen::Answer(op, answer)
                    }
                };
                self.sightings.add_at(at.as_microsecond(), seen);
            }
        }
        Ok(())
    }

    /// Breaks one thing while registrations are under way.
    async fn break_something(&mut self, random: &mut Random) -> Result<Fault, LiveError> {
        let running: Vec<u16> = self.running.keys().copied().collect();
        let somebody = running.get(random.below(running.len().max(1))).copied().unwrap_or(0);
        let fault = match random.below(4) {
            0 => Fault::KillServer,
            1 => Fault::RestartDatabase,
            2 => Fault::DiskFull,
            _ => Fault::KillAgent(somebody),
        };
        self.sightings.event(Event::Fault(Choice::Fault(fault).to_string()));
        if !self.arena.suffers(fault).await?
            && let Some(process) = self.running.remove(&somebody)
        {
            let _ = tokio::task::spawn_blocking(move || drop(process)).await;
            self.start(somebody)?;
        }
        Ok(fault)
    }

    fn late(&self) -> LiveError {
        let last = format!(
            "{} agents run, {} were never started, {} exchanges are open, {} are over",
            self.running.len(),
            self.starts.len() - usize::from(self.next),
            self.open.len(),
            self.answers
        );
        let what = "anything to happen among the agents".to_owned();
        TimedOut { what, within: ANYTHING_WITHIN, tries: 1, last }.into()
    }
}
