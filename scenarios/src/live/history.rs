//! A history of what callers heard and what the database wrote, in one order.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use plexlab_race::history::{Change, Entry, Event, History, Op, Reply};
use uuid::Uuid;

use super::calls::Understood;
use super::changes::{Noted, What};
use super::field::Field;

/// What happened on the callers' side.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// As it stands in a history.
    Event(Event),
    /// An answer, whose Node has no number yet.
    Answer(Op, Understood),
}

/// All that was seen of one race.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// When each happened, in microseconds since the epoch.
    seen: Vec<(i64, Seen)>,
    /// From when on the control plane's clock was so many seconds ahead.
    ahead: Vec<(i64, i64)>,
}

pub(super) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

impl Sightings {
    pub(super) fn add(&mut self, seen: Seen) {
        self.seen.push((now(), seen));
    }

    /// What somebody else saw, at its time in microseconds since the epoch.
    pub(super) fn add_at(&mut self, at: i64, seen: Seen) {
        self.seen.push((at, seen));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.add(Seen::Event(event));
    }

    pub(super) fn clock(&mut self, ahead: i64) {
        self.ahead.push((now(), ahead));
    }

    /// Puts it together with what the database wrote. Commits come at their commit timestamps: that is before anybody
    /// could see them, so a right control plane's answers all come later.
    pub(super) fn history(
        self,
        field: &Field,
        written: &[Noted],
        numbers: &Numbers<'_>,
        settled: bool,
    ) -> History {
        enum Part<'n> {
            Seen(Seen),
            Commit(Vec<&'n Noted>),
        }
        let mut parts: Vec<(i64, Part<'_>)> =
            self.seen.into_iter().map(|(at, seen)| (at, Part::Seen(seen))).collect();
        for commit in written.chunk_by(|one, other| one.transaction == other.transaction) {
            if let Some(first) = commit.first() {
                parts.push((first.committed, Part::Commit(commit.iter().collect())));
            }
        }
        parts.sort_by_key(|(at, _)| *at);
        let mut nodes: HashMap<Uuid, u32> = HashMap::new();
        let mut node = |id: Uuid| {
            let next = u32::try_from(nodes.len()).unwrap_or(u32::MAX) + 1;
            *nodes.entry(id).or_insert(next)
        };
        let mut entries = Vec::new();
        for (at, part) in parts {
            let ahead =
                self.ahead.iter().rev().find(|(since, _)| *since <= at).map_or(0, |(_, ahead)| *ahead);
            let event = match part {
                Part::Seen(Seen::Event(event)) => Some(event),
                Part::Seen(Seen::Answer(op, Understood::Reply(reply))) => Some(Event::Return { op, reply }),
                Part::Seen(Seen::Answer(op, Understood::Won { node: id, address })) => {
                    Some(Event::Return { op, reply: Reply::Won { node: node(id), address } })
                }
                Part::Commit(commit) => {
                    let changes: Vec<Change> = commit
                        .iter()
                        .filter_map(|noted| numbers.change(&noted.what, &commit, field, &mut node))
                        .collect();
                    (!changes.is_empty()).then_some(Event::Changed(changes))
                }
            };
            entries.extend(event.map(|event| Entry { at: at - field.base + ahead * 1_000_000, event }));
        }
        History { ground: field.ground.clone(), entries, settled }
    }
}

/// Numbers in the place of what a race calls its tokens, nonces and handles.
pub(super) struct Numbers<'a> {
    /// The token of a handle.
    pub(super) handles: &'a HashMap<String, u32>,
    /// The number of a nonce that an agent drew itself.
    pub(super) nonces: &'a HashMap<String, u32>,
}

/// From here on are the numbers of nonces that the control plane drew for agents that have none.
pub(super) const OF_THE_SERVER: u32 = 1_000_000;

impl Numbers<'_> {
    fn nonce(&self, text: &str) -> u32 {
        let drawn = || text.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let known = self.nonces.get(text).copied();
        known.or_else(|| number_of(text)).unwrap_or_else(|| OF_THE_SERVER + drawn() % OF_THE_SERVER)
    }

    /// The change in numbers; none of what belongs to another race. `commit` is all of its transaction.
    fn change(
        &self,
        what: &What,
        commit: &[&Noted],
        field: &Field,
        node: &mut impl FnMut(Uuid) -> u32,
    ) -> Option<Change> {
        let resource = |id: &Uuid| {
            let place = field.resources.iter().position(|resource| resource.resource == *id)?;
            u32::try_from(place).ok()
        };
        let token = |id: &Uuid| {
            let place = field.tokens.iter().position(|token| token.id == *id)?;
            u32::try_from(place).ok()
        };
        Some(match what {
            What::Node { node: id, handle, address, resource: of } => {
                let spent = commit.iter().find_map(|noted| match &noted.what {
                    What::Consumed { token: spent, node, .. } if node == id => token(spent),
                    _ => None,
                });
                // All tokens of a provisioned Resource have one handle.
                let token = self.handles.get(handle).copied().or(spent)?;
                let address: IpAddr = address.parse().ok()?;
                let number = node(*id);
                Change::Node { node: number, token, resource: resource(of).unwrap_or(number), address }
            }
            What::Gone { node: id } => Change::NodeGone { node: node(*id) },
            What::Anchored { node: id } => Change::Anchored { node: node(*id) },
            What::Minted { token: id, resource: of, .. } => {
                Change::Minted { token: token(id)?, resource: resource(of)? }
            }
            What::Phase { resource: of, from, to } => {
                Change::Phase { resource: resource(of)?, from: *from, to: *to }
            }
            What::Consumed { token: id, nonce, node: of, at } => Change::Consumed {
                token: token(id)?,
                nonce: self.nonce(nonce),
                node: node(*of),
                at: at - field.base,
            },
            What::Revoked { token: id } => Change::Revoked { token: token(id)? },
            What::Assignment { assignment, state, by } => {
                let place = field.requests.iter().position(|request| request.id == *assignment)?;
                let party = field.parties.iter().position(|party| party.subject == *by);
                Change::Assignment {
                    assignment: u32::try_from(place).ok()?,
                    state: *state,
                    by: party.and_then(|party| u16::try_from(party).ok()).unwrap_or(u16::MAX),
                }
            }
        })
    }
}

/// The nonce of this number.
pub(super) fn nonce(prefix: &str, number: u32) -> String {
    format!("{prefix}-nonce-{number}")
}

fn number_of(nonce: &str) -> Option<u32> {
    nonce.split_once("-nonce-")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexlab_race::checkers;
    use plexlab_race::history::{Call, Ground, ProjectGround, TokenGround};

    fn field() -> Field {
        let ground = Ground {
            tokens: vec![TokenGround { project: 0, expires_at: 1_000_000_000 }],
            projects: vec![ProjectGround { domain: 0, sub_range: None }],
            pools: vec!["10.64.1.0/24".to_owned()],
            ..Ground::default()
        };
        let token = super::super::field::Token {
            id: Uuid::from_u128(7),
            project: Uuid::nil(),
            plaintext: "x".into(),
        };
        Field {
            base: 1_000,
            ground,
            prefix: "r1".to_owned(),
            projects: vec![Uuid::nil()],
            tokens: vec![token],
            parties: Vec::new(),
            requests: Vec::new(),
            resources: Vec::new(),
        }
    }

    /// A registration that was committed at `committed` and answered at 3,000.
    fn history(committed: i64) -> History {
        let node = Uuid::from_u128(1);
        let won = Understood::Won { node, address: "10.64.1.1".parse().unwrap() };
        let sightings = Sightings {
            seen: vec![
                (
                    2_000,
                    Seen::Event(Event::Invoke { op: 0, by: 0, call: Call::Redeem { token: 0, nonce: 1 } }),
                ),
                (3_000, Seen::Answer(0, won)),
            ],
            ahead: Vec::new(),
        };
        let noted = |what| Noted { transaction: "9".to_owned(), committed, what };
        let written = [
            noted(What::Node {
                node,
                handle: "r1-agent-0".to_owned(),
                resource: Uuid::nil(),
                address: "10.64.1.1".to_owned(),
            }),
            noted(What::Consumed { token: Uuid::from_u128(7), nonce: nonce("r1", 1), node, at: 2_400 }),
        ];
        let handles = HashMap::from([("r1-agent-0".to_owned(), 0)]);
        sightings.history(&field(), &written, &Numbers { handles: &handles, nonces: &HashMap::new() }, true)
    }

    #[test]
    fn a_commit_stands_where_it_was_made_and_an_answer_before_it_breaks_a_rule() {
        let right = history(2_500);
        assert_eq!(right.entries.len(), 3);
        assert!(matches!(right.entries[1].event, Event::Changed(_)));
        assert_eq!(checkers::check(&right), []);
        let early = history(3_500);
        assert_eq!(checkers::check(&early)[0].rule, "told-what-is");
    }
}
