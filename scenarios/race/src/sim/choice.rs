//! What a schedule is made of: who goes next, or what breaks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Choice {
    /// An agent sends, or takes its answer.
    Agent(u16),
    /// The control plane goes on with this agent's n-th request.
    Server(u16, u16),
    /// A person calls, or takes the answer.
    Person(u16),
    /// The control plane goes on with this person's request.
    Desk(u16),
    /// A broker acts.
    Broker(u16),
    /// The broker's watch catches up.
    Watch,
    /// The substrate becomes ready; with real processes also: what was asked to go is gone.
    Substrate,
    /// The enrolment Job registers.
    Job,
    /// The outbox is consumed: Nodes become peers.
    Outbox,
    /// A watcher looks.
    Watcher(u16),
    /// Something breaks.
    Fault(Fault),
}

/// What can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of the control plane; it comes back at once.
    KillServer,
    /// `kill -9` of an agent; it comes back with a new nonce.
    KillAgent(u16),
    /// The connection breaks before the request is done with; it is given up.
    Reset(u16, u16),
    /// The answer is lost.
    LoseReply(u16),
    /// The request arrives twice.
    Duplicate(u16),
    /// The control plane's clock jumps to a token's expiry.
    Jump,
    /// Postgres is restarted: all transactions are over.
    RestartDatabase,
    /// Postgres has no space: the next commit fails.
    DiskFull,
    /// Whoever waits for the allocator has waited too long.
    Impatience(u16, u16),
    /// A broker is killed between two effects; with real processes the control plane that it is in, of which the first also
    /// serves everybody.
    KillBroker(u16),
    /// The substrate fails.
    SubstrateFails,
    /// The API server is restarted: the watch starts anew; with real processes it goes on from where it was.
    RestartCluster,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent {agent}"),
            Self::Server(agent, request) => write!(f, "server {agent}.{request}"),
            Self::Person(person) => write!(f, "person {person}"),
            Self::Desk(person) => write!(f, "desk {person}"),
            Self::Broker(broker) => write!(f, "broker {broker}"),
            Self::Watch => write!(f, "watch"),
            Self::Substrate => write!(f, "substrate"),
            Self::Job => write!(f, "job"),
            Self::Outbox => write!(f, "outbox"),
            Self::Watcher(watcher) => write!(f, "watcher {watcher}"),
            Self::Fault(fault) => match fault {
                Fault::KillServer => write!(f, "kill-server"),
                Fault::KillAgent(agent) => write!(f, "kill-agent {agent}"),
                Fault::Reset(agent, request) => write!(f, "reset {agent}.{request}"),
                Fault::LoseReply(agent) => write!(f, "lose-reply {agent}"),
                Fault::Duplicate(agent) => write!(f, "duplicate {agent}"),
                Fault::Jump => write!(f, "jump"),
                Fault::RestartDatabase => write!(f, "restart-database"),
                Fault::DiskFull => write!(f, "disk-full"),
                Fault::Impatience(agent, request) => write!(f, "impatience {agent}.{request}"),
                Fault::KillBroker(broker) => write!(f, "kill-broker {broker}"),
                Fault::SubstrateFails => write!(f, "substrate-fails"),
                Fault::RestartCluster => write!(f, "restart-cluster"),
            },
        }
    }
}

/// A word that is no step of a schedule.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no step of a schedule")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownChoice(text.to_owned());
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let one = || rest.parse::<u16>().map_err(|_| unknown());
        let two = || {
            let (left, right) = rest.split_once('.').ok_or_else(unknown)?;
            Ok((left.parse::<u16>().map_err(|_| unknown())?, right.parse::<u16>().map_err(|_| unknown())?))
        };
        let bare = |choice| if rest.is_empty() { Ok(choice) } else { Err(unknown()) };
        match word {
            "agent" => Ok(Self::Agent(one()?)),
            "server" => two().map(|(agent, request)| Self::Server(agent, request)),
            "person" => Ok(Self::Person(one()?)),
            "desk" => Ok(Self::Desk(one()?)),
            "broker" => Ok(Self::Broker(one()?)),
            "watch" => bare(Self::Watch),
            "substrate" => bare(Self::Substrate),
            "job" => bare(Self::Job),
            "outbox" => bare(Self::Outbox),
            "watcher" => Ok(Self::Watcher(one()?)),
            "kill-server" => bare(Self::Fault(Fault::KillServer)),
            "kill-agent" => Ok(Self::Fault(Fault::KillAgent(one()?))),
            "reset" => two().map(|(agent, request)| Self::Fault(Fault::Reset(agent, request))),
            "lose-reply" => Ok(Self::Fault(Fault::LoseReply(one()?))),
            "duplicate" => Ok(Self::Fault(Fault::Duplicate(one()?))),
            "jump" => bare(Self::Fault(Fault::Jump)),
            "restart-database" => bare(Self::Fault(Fault::RestartDatabase)),
            "disk-full" => bare(Self::Fault(Fault::DiskFull)),
            "impatience" => two().map(|(agent, request)| Self::Fault(Fault::Impatience(agent, request))),
            "kill-broker" => Ok(Self::Fault(Fault::KillBroker(one()?))),
            "substrate-fails" => bare(Self::Fault(Fault::SubstrateFails)),
            "restart-cluster" => bare(Self::Fault(Fault::RestartCluster)),
            _ => Err(unknown()),
        }
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for Choice {
    type Error = UnknownChoice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Choice {
    /// Whether something breaks.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Fault(_))
    }
}
