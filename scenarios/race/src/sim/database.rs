//! As much of Postgres as a redemption needs: rows, row locks, unique indexes, transactions that read what is
//! committed (READ COMMITTED).

use std::net::IpAddr;

use plexlab_rules::mesh::Cidr;
use plexlab_rules::registration::Addresses;

use super::defects::Defect;
use super::footprint::{Footprint, Thing};
use crate::history::{Change, Ground};

/// A token's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// The nonce it was consumed with.
    pub consumed: Option<u32>,
    /// It was revoked.
    pub revoked: bool,
}

/// A Node's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeRow {
    domain: u32,
    address: IpAddr,
}

/// A lock that a transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Of a token's row.
    Token(u32),
    /// Of a Domain's allocator.
    Allocator(u32),
    /// A value that is to enter an index: a Project's nonce.
    Nonce(u32, u32),
    /// The same: a Domain's address.
    Address(u32, IpAddr),
}

impl Lock {
    fn thing(self) -> Thing {
        match self {
            Self::Token(token) => Thing::Token(token),
            Self::Allocator(domain) => Thing::Allocator(domain),
            Self::Nonce(project, _) => Thing::Nonces(project),
            Self::Address(domain, _) => Thing::Nodes(domain),
        }
    }
}

/// The number of a transaction.
pub type Transaction = u32;

/// The tables.
#[derive(Debug, Clone)]
pub struct Database {
    tokens: Vec<TokenRow>,
    nonces: Vec<(u32, u32)>,
    nodes: Vec<NodeRow>,
    locks: Vec<(Lock, Transaction)>,
    began: Transaction,
    pools: Vec<Option<Cidr>>,
    /// A Project's Domain and sub-range.
    projects: Vec<(u32, Option<Cidr>)>,
    nonce_index: bool,
    address_index: bool,
    spills_over: bool,
    takes_reserved: bool,
}

impl Database {
    /// Before anything happens.
    pub fn new(ground: &Ground, defect: Option<Defect>) -> Self {
        Self {
            tokens: vec![TokenRow::default(); ground.tokens.len()],
            nonces: Vec::new(),
            nodes: Vec::new(),
            locks: Vec::new(),
            began: 0,
            pools: ground.pools.iter().map(|pool| Cidr::parse(pool)).collect(),
            projects: ground
                .projects
                .iter()
                .map(|project| (project.domain, project.sub_range.as_deref().and_then(Cidr::parse)))
                .collect(),
            nonce_index: defect != Some(Defect::NoNonceIndex),
            address_index: defect != Some(Defect::NoAddressIndex),
            spills_over: defect == Some(Defect::SpillsOver),
            takes_reserved: defect == Some(Defect::TakesReserved),
        }
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Transaction {
        self.began += 1;
        self.began
    }

    /// A token's row as committed.
    pub fn token(&self, token: u32, touched: &mut Footprint) -> TokenRow {
        touched.read(Thing::Token(token));
        self.tokens[token as usize]
    }

    /// All tokens' rows, for who wants to keep an old view.
    pub fn snapshot(&self) -> Vec<TokenRow> {
        self.tokens.clone()
    }

    /// Whether another transaction holds this.
    pub fn is_held(&self, lock: Lock, by_other_than: Transaction) -> bool {
        self.locks.iter().any(|(held, holder)| *held == lock && *holder != by_other_than)
    }

    /// Takes a lock that nobody else holds.
    pub fn lock(&mut self, lock: Lock, transaction: Transaction, touched: &mut Footprint) {
        touched.write(lock.thing());
        if !self.locks.contains(&(lock, transaction)) {
            self.locks.push((lock, transaction));
        }
    }

    /// Whether a nonce was used in a Project.
    pub fn nonce_used(&self, project: u32, nonce: u32, touched: &mut Footprint) -> bool {
        touched.read(Thing::Nonces(project));
        self.nonces.contains(&(project, nonce))
    }

    /// Whether an index holds the nonces of a Project apart.
    pub fn has_nonce_index(&self) -> bool {
        self.nonce_index
    }

    /// Whether an index holds the addresses of a Domain apart.
    pub fn has_address_index(&self) -> bool {
        self.address_index
    }

    /// Whether a Node of this Domain has this address.
    pub fn address_used(&self, domain: u32, address: IpAddr) -> bool {
        self.nodes.iter().any(|node| (node.domain, node.address) == (domain, address))
    }

    /// A Project's Domain.
    pub fn domain(&self, project: u32) -> u32 {
        self.projects[project as usize].0
    }

    /// The lowest free address for a Project.
    pub fn free_address(&self, project: u32, touched: &mut Footprint) -> Result<IpAddr, Addresses> {
        let (domain, sub_range) = self.projects[project as usize];
        touched.read(Thing::Nodes(domain));
        let mut taken: Vec<IpAddr> =
            self.nodes.iter().filter(|node| node.domain == domain).map(|node| node.address).collect();
        taken.sort_unstable();
        let pool = self.pools[domain as usize].ok_or(Addresses::PoolFull)?;
        if let Some(range) = sub_range {
            let inside: Vec<IpAddr> = taken.iter().copied().filter(|address| range.has(*address)).collect();
            match range.lowest_free(&inside, &[]) {
                Some(address) => return Ok(address),
                None if !self.spills_over => return Err(Addresses::SubrangeFull),
                None => {}
            }
        }
        let reserved: Vec<Cidr> = self
            .projects
            .iter()
            .filter(|(other, _)| *other == domain && !self.takes_reserved)
            .filter_map(|(_, range)| *range)
            .collect();
        pool.lowest_free(&taken, &reserved).ok_or(Addresses::PoolFull)
    }

    /// Commits, and lets go of the locks.
    pub fn commit(
        &mut self,
        transaction: Transaction,
        changes: &[Change],
        ground: &Ground,
        touched: &mut Footprint,
    ) {
        for change in changes {
            match *change {
                Change::Node { token, address, .. } => {
                    let project = ground.tokens[token as usize].project;
                    let domain = self.domain(project);
                    touched.write(Thing::Nodes(domain));
                    self.nodes.push(NodeRow { domain, address });
                }
                Change::Consumed { token, nonce, .. } => {
                    let project = ground.tokens[token as usize].project;
                    touched.write(Thing::Token(token));
                    touched.write(Thing::Nonces(project));
                    self.tokens[token as usize].consumed = Some(nonce);
                    self.nonces.push((project, nonce));
                }
                Change::Revoked { token } => {
                    touched.write(Thing::Token(token));
                    self.tokens[token as usize].revoked = true;
                }
                _ => {}
            }
        }
        self.roll_back(transaction, touched);
    }

    /// Lets go of the locks.
    pub fn roll_back(&mut self, transaction: Transaction, touched: &mut Footprint) {
        self.locks.retain(|(lock, holder)| {
            if *holder == transaction {
                touched.write(lock.thing());
            }
            *holder != transaction
        });
    }

    /// All transactions are over.
    pub fn restart(&mut self) {
        self.locks.clear();
    }
}
