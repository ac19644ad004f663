//! Many agents at once, held at no gate: they race as the machine lets them, and things break between their answers.
//!
//! What breaks, and after how many answers, is drawn from the seed; the order of the rest is the machine's.

use std::collections::{BTreeMap, HashMap};

use plexlab_lab::TimedOut;
use plexlab_race::history::{CROWD, Call, Event, Op, Reply};
use plexlab_race::sim::choice::{Choice, Fault};
use plexlab_race::sim::random::Random;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::arena::{Arena, LiveError};
use super::calls::{self, Caller, Heard, Understood, understood};
use super::cast::Cast;
use super::field::Field;
use super::herd;
use super::history::{Numbers, Seen, Sightings, nonce};
use super::play::Played;
use super::world::handle;

/// How often an agent asks at most: every fault may cost it one request.
const REQUESTS: u16 = 3;
/// How long the next answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// After how many answers something breaks, the last first.
pub(super) fn breaks(random: &mut Random, cast: &Cast) -> Vec<usize> {
    let mut breaks: Vec<usize> = (0..cast.faults).map(|_| random.below(cast.agents.len())).collect();
    breaks.sort_unstable_by(|one, other| other.cmp(one));
    breaks
}

struct Crowd<'a> {
    arena: &'a mut Arena,
    cast: &'a Cast,
    field: Field,
    sightings: Sightings,
    tell: mpsc::UnboundedSender<(Caller, Heard)>,
    /// Who waits for an answer: the operation, and its connection.
    open: BTreeMap<u16, (Op, JoinHandle<()>)>,
    requests: Vec<u16>,
    calls: Vec<Call>,
}

/// Plays the race of a seed.
///
/// # Errors
/// When it cannot be held.
pub async fn play(arena: &mut Arena, cast: &Cast, (seed, number): (u64, u64)) -> Result<Played, LiveError> {
    if let Some(program) = arena.agents.clone() {
        return herd::play(arena, &program, cast, (seed, number)).await;
    }
    let mut random = Random::new(seed.rotate_left(17) ^ number);
    let field = Field::prepare(arena, cast).await?;
    arena.set_gates(false).await?;
    arena.witness.begin().await?;
    let agents = cast.agents.len();
    let mut breaks = breaks(&mut random, cast);
    let (tell, mut heard) = mpsc::unbounded_channel();
    let mut crowd = Crowd {
        arena,
        cast,
        field,
        sightings: Sightings::default(),
        tell,
        open: BTreeMap::new(),
        requests: vec![0; agents],
        calls: Vec::new(),
    };
    crowd.sightings.event(Event::Fault(CROWD.to_owned()));
    for agent in (0..).take(agents) {
        crowd.ask(agent);
    }
    let mut schedule = Vec::new();
    let mut answers = 0;
    while !crowd.open.is_empty() {
        if breaks.last().is_some_and(|after| *after <= answers) {
            breaks.pop();
            schedule.push(Choice::Fault(crowd.break_something(&mut random).await?));
        }
        let next = tokio::time::timeout(ANSWER_WITHIN, heard.recv()).await;
        let Ok(Some((caller, heard))) = next else {
            let last = format!("{} agents wait, {answers} were answered", crowd.open.len());
            let what = "the next answer to a registration".to_owned();
            return Err(TimedOut { what, within: ANSWER_WITHIN, tries: 1, last }.into());
        };
        answers += 1;
        crowd.hear(caller, heard)?;
    }
    let tokens = cast.agents.iter().zip(0_u16..);
    let handles: HashMap<String, u32> =
        tokens.map(|(token, number)| (handle(&crowd.field, number), *token)).collect();
    let written = crowd.arena.witness.news().await?;
    let Crowd { field, sightings, .. } = crowd;
    let history =
        sightings.history(&field, &written, &Numbers { handles: &handles, nonces: &HashMap::new() }, true);
    Ok(Played { schedule, history, field, logs: BTreeMap::new() })
}

impl Crowd<'_> {
    fn ask(&mut self, agent: u16) {
        let place = usize::from(agent);
        let token = self.cast.agents[place];
        let number = if self.cast.one_nonce { 1 } else { u32::from(agent) + 1 };
        let call = Call::Redeem { token, nonce: number };
        let op = Op::try_from(self.calls.len()).unwrap_or(Op::MAX);
        self.calls.push(call);
        let request = self.requests[place];
        self.requests[place] += 1;
        let issued = &self.field.tokens[token as usize];
        let asked = calls::registration(
            &self.arena.bare.url(),
            issued.project,
            &issued.plaintext,
            &handle(&self.field, agent),
            &nonce(&self.field.prefix, number),
        );
        self.sightings.event(Event::Invoke { op, by: agent, call });
        let task =
            calls::send(&self.arena.callers, asked, Caller { number: agent, request }, self.tell.clone());
        self.open.insert(agent, (op, task));
    }

    fn hear(&mut self, caller: Caller, heard: Heard) -> Result<(), LiveError> {
        let Caller { number: agent, request } = caller;
        // What a broken connection had to say before it was broken counts for nothing.
        if self.requests[usize::from(agent)] != request + 1 {
            return Ok(());
        }
        let Some((op, _)) = self.open.remove(&agent) else { return Ok(()) };
        let again = match heard {
            Heard::Broken => {
                self.sightings.event(Event::Lost { op });
                true
            }
            Heard::Answer { status, body } => {
                let call = self.calls[op as usize];
                let answer = understood(call, status, &body).ok_or_else(|| LiveError::Unexpected {
                    call: format!("{call:?}"),
                    status,
                    body: self.arena.redactor.redact(&body.to_string()).into_owned(),
                })?;
                let again = answer == Understood::Reply(Reply::Unavailable);
                self.sightings.add(Seen::Answer(op, answer));
                again
            }
        };
        if again && self.requests[usize::from(agent)] < REQUESTS + self.cast.faults {
            self.ask(agent);
        }
        Ok(())
    }

    /// Breaks one thing while registrations are under way.
    async fn break_something(&mut self, random: &mut Random) -> Result<Fault, LiveError> {
        let waiting: Vec<u16> = self.open.keys().copied().collect();
        let somebody = waiting.get(random.below(waiting.len().max(1))).copied().unwrap_or(0);
        let fault = match random.below(4) {
            0 => Fault::KillServer,
            1 => Fault::RestartDatabase,
            2 => Fault::DiskFull,
            _ => Fault::Reset(somebody, 0),
        };
        self.sightings.event(Event::Fault(Choice::Fault(fault).to_string()));
        if !self.arena.suffers(fault).await?
            && let Some((op, task)) = self.open.remove(&somebody)
        {
            task.abort();
            self.sightings.event(Event::Lost { op });
            self.ask(somebody);
        }
        Ok(fault)
    }
}
