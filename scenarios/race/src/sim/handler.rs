//! The control plane's side of one registration: the redemption's machine, asked against the simulated database.

use std::net::IpAddr;

use plexlab_rules::registration::{
    Addresses, Answer, Ask, Candidate, Condition, Moment, Next, Reading, Redemption, Refused,
};

use super::database::{Database, Lock, TokenRow, Transaction};
use super::defects::Defect;
use super::footprint::{Footprint, Thing};
use crate::history::{Change, Ground, Op, Reply};

/// What the control plane has besides its handlers.
pub(super) struct Server<'s> {
    pub(super) database: &'s mut Database,
    pub(super) ground: &'s Ground,
    pub(super) defect: Option<Defect>,
    pub(super) now: Moment,
    /// Numbers of Nodes.
    pub(super) nodes: &'s mut u32,
    /// The next commit fails.
    pub(super) disk_full: &'s mut bool,
    /// Who won what, for a server that remembers.
    pub(super) winners: &'s mut Vec<(u32, u32, IpAddr)>,
}

/// What a step brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// A commit.
    pub(super) committed: Option<Vec<Change>>,
    /// An answer for the caller.
    pub(super) reply: Option<Reply>,
    /// The handler is through.
    pub(super) done: bool,
}

/// One request under way.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) agent: u16,
    pub(super) request: u16,
    /// The call that waits for the answer; none when its caller is gone.
    pub(super) op: Option<Op>,
    token: u32,
    nonce: u32,
    redemption: Redemption,
    transaction: Option<Transaction>,
    /// The row as it was when the request came.
    old: TokenRow,
    locked_at: Moment,
    address: Option<IpAddr>,
    node: u32,
    changes: Vec<Change>,
    /// Its caller has the answer already.
    told: bool,
    /// What is left to be committed by a server that does it in two parts.
    second_part: Vec<Change>,
}

impl Handler {
    pub(super) fn new(
        (agent, request): (u16, u16),
        op: Option<Op>,
        (token, nonce): (u32, u32),
        server: &Server<'_>,
        touched: &mut Footprint,
    ) -> Self {
        let defect = match server.defect {
            Some(Defect::Redemption(defect)) => Some(defect),
            Some(Defect::NoNonceIndex) => Some(plexlab_rules::registration::Defect::NonceUnchecked),
            Some(Defect::NoAddressIndex) => Some(plexlab_rules::registration::Defect::AllocatorUnlocked),
            _ => None,
        };
        if defect == Some(plexlab_rules::registration::Defect::ExpiryAtArrival) {
            touched.read(Thing::Clock);
        }
        let sees_one_moment = matches!(
            defect,
            Some(
                plexlab_rules::registration::Defect::SnapshotIsolation
                    | plexlab_rules::registration::Defect::RepeatableRead
            )
        );
        let old = if sees_one_moment { server.database.token(token, touched) } else { TokenRow::default() };
        Self {
            agent,
            request,
            op,
            token,
            nonce,
            redemption: Redemption::with(defect, server.now),
            transaction: None,
            old,
            locked_at: 0,
            address: None,
            node: 0,
            changes: Vec::new(),
            told: false,
            second_part: Vec::new(),
        }
    }

    fn project(&self, ground: &Ground) -> u32 {
        ground.tokens[self.token as usize].project
    }

    /// What it must wait for, if somebody else has it.
    fn wants(&self, database: &Database, ground: &Ground) -> [Option<Lock>; 2] {
        let project = self.project(ground);
        match self.redemption.next() {
            Next::Ask(Ask::Lock(Reading::Locked | Reading::Repeatable)) => {
                [Some(Lock::Token(self.token)), None]
            }
            Next::Ask(Ask::Allocator) => [Some(Lock::Allocator(database.domain(project))), None],
            Next::Ask(Ask::Insert) if database.has_address_index() => {
                [self.address.map(|address| Lock::Address(database.domain(project), address)), None]
            }
            Next::Ask(Ask::Consume(_)) => [
                Some(Lock::Token(self.token)),
                database.has_nonce_index().then_some(Lock::Nonce(project, self.nonce)),
            ],
            _ => [None, None],
        }
    }

    /// Whether it can go on.
    pub(super) fn can_step(&self, database: &Database, ground: &Ground) -> bool {
        let me = self.transaction.unwrap_or(0);
        self.wants(database, ground).into_iter().flatten().all(|lock| !database.is_held(lock, me))
    }

    /// Whether it waits for the Domain's allocator.
    pub(super) fn waits_for_allocator(&self, database: &Database, ground: &Ground) -> bool {
        self.redemption.next() == Next::Ask(Ask::Allocator) && !self.can_step(database, ground)
    }

    /// It has waited too long.
    pub(super) fn give_up(&mut self, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        self.redemption.answer(Answer::InTime(false), server.now);
        self.conclude(server, touched)
    }

    /// Its transaction is over, without its doing. Says whether its caller is told.
    pub(super) fn database_restarted(&mut self, server: &Server<'_>) -> Option<Reply> {
        self.transaction.take()?;
        if server.defect == Some(Defect::CommitsAgain) && self.redemption.next() == Next::Ask(Ask::Commit) {
            return None;
        }
        Some(match server.defect {
            Some(Defect::ErrorsAreConsumed) => Reply::Refused(Refused::TokenConsumed),
            _ => Reply::Unavailable,
        })
    }

    /// Its client is gone: what it has begun is rolled back.
    pub(super) fn drop_transaction(&mut self, database: &mut Database, touched: &mut Footprint) {
        if let Some(transaction) = self.transaction.take() {
            database.roll_back(transaction, touched);
        }
    }

    fn candidate(&self, row: TokenRow, ground: &Ground) -> Candidate {
        Candidate {
            expires_at: ground.tokens[self.token as usize].expires_at,
            consumed: row.consumed.is_some(),
            same_nonce: row.consumed == Some(self.nonce),
            revoked: row.revoked,
        }
    }

    /// One question to the database, and what follows from its answer.
    pub(super) fn step(&mut self, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        if !self.second_part.is_empty() {
            let part = std::mem::take(&mut self.second_part);
            return self.commit(part, server, touched);
        }
        let Next::Ask(ask) = self.redemption.next() else { return self.conclude(server, touched) };
        let me = match (ask, self.transaction) {
            (Ask::Peek, _) => 0,
            (_, Some(transaction)) => transaction,
            (_, None) => *self.transaction.insert(server.database.begin()),
        };
        for lock in self.wants(server.database, server.ground).into_iter().flatten() {
            server.database.lock(lock, me, touched);
        }
        let project = self.project(server.ground);
        let answer = match ask {
            Ask::Peek => {
                touched.read(Thing::Clock);
                let row = server.database.token(self.token, touched);
                Answer::Token(Some(self.candidate(row, server.ground)))
            }
            Ask::Lock(reading) => {
                touched.read(Thing::Clock);
                self.locked_at = server.now;
                let row = match reading {
                    Reading::Snapshot => self.old,
                    Reading::Repeatable => {
                        let row = server.database.token(self.token, touched);
                        if row != self.old {
                            // The database gave up for reasons of timing: the stand-in says 503.
                            return self.end_with(Reply::Unavailable, server, touched);
                        }
                        row
                    }
                    Reading::Locked | Reading::Plain => server.database.token(self.token, touched),
                };
                Answer::Token(Some(self.candidate(row, server.ground)))
            }
            Ask::Nonce => Answer::Used(server.database.nonce_used(project, self.nonce, touched)),
            Ask::Tenant | Ask::Bind => Answer::There(true),
            Ask::Allocator => Answer::InTime(true),
            Ask::Address => match server.database.free_address(project, touched) {
                Ok(address) => {
                    self.address = Some(address);
                    Answer::Free(Addresses::Some)
                }
                Err(full) => Answer::Free(full),
            },
            Ask::Insert => match self.insert(server, touched) {
                Some(answer) => answer,
                None => return self.fail(server, touched),
            },
            Ask::Consume(condition) => self.consume(condition, server, touched),
            Ask::Commit => {
                if std::mem::take(server.disk_full) {
                    return self.end_with(Reply::Unavailable, server, touched);
                }
                let changes = std::mem::take(&mut self.changes);
                return self.commit(changes, server, touched);
            }
        };
        // No jump moves the other clock.
        self.redemption.answer(answer, self.redemption.clock(server.now, 0));
        self.conclude(server, touched)
    }

    fn insert(&mut self, server: &mut Server<'_>, touched: &mut Footprint) -> Option<Answer> {
        let address = self.address?;
        let domain = server.database.domain(self.project(server.ground));
        if server.database.has_address_index() {
            touched.read(Thing::Nodes(domain));
            if server.database.address_used(domain, address) {
                return None;
            }
        }
        // Numbers of Nodes follow from who asks, not from the order.
        self.node = u32::from(self.agent) * 64 + u32::from(self.request);
        *server.nodes += 1;
        self.changes.push(Change::Node { node: self.node, token: self.token, resource: self.node, address });
        Some(Answer::Done)
    }

    fn consume(&mut self, condition: Condition, server: &mut Server<'_>, touched: &mut Footprint) -> Answer {
        let row = server.database.token(self.token, touched);
        if condition == Condition::Unspent && (row.consumed.is_some() || row.revoked) {
            return Answer::Unchanged;
        }
        let project = self.project(server.ground);
        if server.database.has_nonce_index()
            && row.consumed != Some(self.nonce)
            && server.database.nonce_used(project, self.nonce, touched)
        {
            return Answer::NonceTaken;
        }
        self.changes.push(Change::Consumed {
            token: self.token,
            nonce: self.nonce,
            node: self.node,
            at: self.locked_at,
        });
        Answer::Done
    }

    fn commit(&mut self, changes: Vec<Change>, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        if server.defect == Some(Defect::ForgetsToCommit) {
            self.drop_transaction(server.database, touched);
            self.redemption.answer(Answer::Committed, server.now);
            return self.conclude(server, touched);
        }
        let transaction = self.transaction.unwrap_or(0);
        let (first, rest): (Vec<Change>, Vec<Change>) = match server.defect {
            Some(Defect::ConsumesFirst) if changes.len() > 1 => {
                changes.into_iter().partition(|change| matches!(change, Change::Consumed { .. }))
            }
            Some(Defect::ConsumesAfterwards) if changes.len() > 1 => {
                changes.into_iter().partition(|change| matches!(change, Change::Node { .. }))
            }
            _ => (changes, Vec::new()),
        };
        server.database.commit(transaction, &first, server.ground, touched);
        if !rest.is_empty() {
            self.transaction = Some(server.database.begin());
            self.second_part = rest;
            return Brought { committed: Some(first), ..Brought::default() };
        }
        self.transaction = None;
        self.redemption.answer(Answer::Committed, server.now);
        if let Some(address) = self.address {
            server.winners.push((self.token, self.node, address));
        }
        let mut brought = self.conclude(server, touched);
        brought.committed = Some(first);
        brought
    }

    /// Something that must not be: 500.
    fn fail(&mut self, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        self.end_with(Reply::Internal, server, touched)
    }

    /// It is rolled back, and its caller is told this.
    fn end_with(&mut self, reply: Reply, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        self.drop_transaction(server.database, touched);
        Brought { reply: self.tell(reply), done: true, ..Brought::default() }
    }

    fn tell(&mut self, reply: Reply) -> Option<Reply> {
        (!std::mem::replace(&mut self.told, true)).then_some(reply)
    }

    fn won(&self) -> Option<Reply> {
        self.address.map(|address| Reply::Won { node: self.node, address })
    }

    /// What the machine has come to.
    fn conclude(&mut self, server: &mut Server<'_>, touched: &mut Footprint) -> Brought {
        match self.redemption.next() {
            Next::Ask(_) => {
                let early = self.redemption.answers_early().then(|| self.won()).flatten();
                Brought { reply: early.and_then(|reply| self.tell(reply)), ..Brought::default() }
            }
            Next::Won => {
                let won = self.won();
                Brought { reply: won.and_then(|reply| self.tell(reply)), done: true, ..Brought::default() }
            }
            Next::Corrupt => self.fail(server, touched),
            Next::Refuse(refused) => {
                let spends = server.defect == Some(Defect::RefusalSpends)
                    && matches!(refused, Refused::PoolExhausted | Refused::SubrangeExhausted);
                let mut brought = Brought { done: true, ..Brought::default() };
                if spends {
                    let (token, nonce, at) = (self.token, self.nonce, self.locked_at);
                    let changes = vec![Change::Consumed { token, nonce, node: u32::MAX, at }];
                    let transaction = self.transaction.take().unwrap_or(0);
                    server.database.commit(transaction, &changes, server.ground, touched);
                    brought.committed = Some(changes);
                } else {
                    self.drop_transaction(server.database, touched);
                }
                let winner = server.winners.iter().find(|(token, ..)| *token == self.token);
                brought.reply = self.tell(match (server.defect, winner) {
                    (Some(Defect::AnswersForTheWinner), Some((_, node, address)))
                        if refused == Refused::TokenConsumed =>
                    {
                        Reply::Won { node: *node, address: *address }
                    }
                    _ => Reply::Refused(refused),
                });
                brought
            }
        }
    }
}
