//! What happened, in one order: calls and their replies, what commits changed, what watchers saw.
//!
//! A history holds numbers in the place of ids and secrets, so it can be shown to anybody. Its order is the order of
//! its entries; `at` is the control plane's clock, which may jump.

use std::net::IpAddr;

use plexlab_rules::assignment::{AssignmentState, Decision};
use plexlab_rules::phase::{MeshRole, Phase};
use plexlab_rules::registration::{Moment, Refused};
use serde::{Deserialize, Serialize};

/// What is there before anything happens, and what the rules need to know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// Bootstrap tokens; the number of one is its place here.
    pub tokens: Vec<TokenGround>,
    /// Projects.
    pub projects: Vec<ProjectGround>,
    /// Address pools of the Domains, as CIDR blocks.
    pub pools: Vec<String>,
    /// Provisioned Resources.
    pub resources: Vec<MeshRole>,
    /// Requests for a credential, and who made each.
    pub assignments: Vec<u16>,
}

/// A bootstrap token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenGround {
    /// Its Project.
    pub project: u32,
    /// From then on nobody wins it.
    pub expires_at: Moment,
}

/// A Project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectGround {
    /// Its Domain.
    pub domain: u32,
    /// Its own part of the Domain's pool, as a CIDR block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_range: Option<String>,
}

/// The number of an operation.
pub type Op = u32;

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `POST /v1/register`.
    Redeem {
        /// Which token.
        token: u32,
        /// With which nonce.
        nonce: u32,
    },
    /// `DELETE` of a token.
    Revoke {
        /// Which.
        token: u32,
    },
    /// `GET` of a token.
    Read {
        /// Which.
        token: u32,
    },
    /// A decision about a request.
    Decide {
        /// Which.
        assignment: u32,
        /// What.
        decision: Decision,
    },
    /// `POST` of a Resource that needs an approved assignment.
    Provision {
        /// Which.
        assignment: u32,
    },
    /// `DELETE` of a Resource.
    Delete {
        /// Which.
        resource: u32,
    },
}

/// What it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// 201: the token was won.
    Won {
        /// The Node.
        node: u32,
        /// Its address in the mesh.
        address: IpAddr,
    },
    /// The token was not won, and why.
    Refused(Refused),
    /// 503: it may have been done, or not; asking again is right.
    Unavailable,
    /// 500: never right.
    Internal,
    /// Done, or accepted.
    Done,
    /// 409: it is too late for this.
    Terminal,
    /// 403.
    Denied,
    /// The token's state.
    State {
        /// `consumed_at` is set.
        consumed: bool,
        /// `revoked_at` is set.
        revoked: bool,
    },
}

/// A change that a commit made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A Node's row.
    Node {
        /// Its number.
        node: u32,
        /// The token that let it in.
        token: u32,
        /// The Resource it belongs to.
        resource: u32,
        /// Its address.
        address: IpAddr,
    },
    /// A Node has left the mesh.
    NodeGone {
        /// Which.
        node: u32,
    },
    /// A Node has a peer in the mesh.
    Anchored {
        /// Which.
        node: u32,
    },
    /// A token's `consumed_at`.
    Consumed {
        /// Which.
        token: u32,
        /// With which nonce.
        nonce: u32,
        /// By which Node.
        node: u32,
        /// When, as the row says.
        at: Moment,
    },
    /// A token's `revoked_at`.
    Revoked {
        /// Which.
        token: u32,
    },
    /// A token was made for a Resource.
    Minted {
        /// Which.
        token: u32,
        /// For which.
        resource: u32,
    },
    /// A Resource's phase.
    Phase {
        /// Which.
        resource: u32,
        /// Before.
        from: Phase,
        /// After.
        to: Phase,
    },
    /// An assignment's state.
    Assignment {
        /// Which.
        assignment: u32,
        /// Afterwards.
        state: AssignmentState,
        /// Who made it so.
        by: u16,
    },
}

/// What happens to a Resource's substrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Substrate {
    /// The Composite Resource was made.
    Made,
    /// The broker asked for its end.
    Deleted,
    /// A leftover that nobody owned was removed.
    Swept,
}

/// From here on more is asked at a time than can be answered at a time.
pub const CROWD: &str = "crowd";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A call begins.
    Invoke {
        /// Its number.
        op: Op,
        /// Who calls.
        by: u16,
        /// What for.
        call: Call,
    },
    /// Its caller has the answer.
    Return {
        /// Which.
        op: Op,
        /// The answer.
        reply: Reply,
    },
    /// Its caller will never know.
    Lost {
        /// Which.
        op: Op,
    },
    /// A commit.
    Changed(Vec<Change>),
    /// What happens in the cluster.
    Cluster {
        /// To which Resource.
        resource: u32,
        /// What.
        what: Substrate,
    },
    /// A watcher sees a phase.
    Saw {
        /// Who.
        watcher: u16,
        /// Of which Resource.
        resource: u32,
        /// Which.
        phase: Phase,
    },
    /// Something was broken on purpose; [`CROWD`] is one of these.
    Fault(String),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The control plane's clock.
    pub at: Moment,
    /// What.
    pub event: Event,
}

/// All that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What was there before.
    pub ground: Ground,
    /// In order.
    pub entries: Vec<Entry>,
    /// Nothing more can happen: what must come to pass in the end has.
    pub settled: bool,
}

impl History {
    /// One line of JSON for each entry: the same bytes for the same history, everywhere.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            // Numbers, enumerations and plain texts: nothing that could fail.
            text.push_str(&serde_json::to_string(entry).unwrap_or_default());
            text.push('\n');
        }
        text
    }

    /// A short digest of it all (FNV-1a).
    pub fn digest(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.lines().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash
    }
}
