//! What can be raced: small worlds by name.

use plexlab_rules::assignment::Decision;
use serde::{Deserialize, Serialize};

use crate::history::{Call, Ground, History, ProjectGround, TokenGround};
use crate::sim::Model;
use crate::sim::approval::{self, Approval};
use crate::sim::choice::Choice;
use crate::sim::defects::Defect;
use crate::sim::enrolment::{self, Enrolment};
use crate::sim::footprint::Footprint;
use crate::sim::lifecycle::{self, Lifecycle};

/// The size of a world, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Agents, or watchers where there are none.
    pub agents: u16,
    /// How many things may break in a run.
    pub faults: u16,
    /// What is wrong with the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<Defect>,
}

/// Something to race.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub summary: &'static str,
    /// How many agents when nobody says otherwise.
    pub agents: u16,
    /// How few it makes sense with.
    pub fewest: u16,
    build: fn(&Options) -> World,
}

/// A world of any kind.
#[derive(Debug, Clone)]
pub enum World {
    /// Agents and tokens.
    Enrolment(Box<Enrolment>),
    /// A Resource and its brokers.
    Lifecycle(Box<Lifecycle>),
    /// Two parties.
    Approval(Box<Approval>),
}

impl Model for World {
    fn choices(&self, into: &mut Vec<Choice>) {
        match self {
            Self::Enrolment(world) => world.choices(into),
            Self::Lifecycle(world) => world.choices(into),
            Self::Approval(world) => world.choices(into),
        }
    }

    fn step(&mut self, choice: Choice) -> Footprint {
        match self {
            Self::Enrolment(world) => world.step(choice),
            Self::Lifecycle(world) => world.step(choice),
            Self::Approval(world) => world.step(choice),
        }
    }

    fn history(&self) -> &History {
        match self {
            Self::Enrolment(world) => world.history(),
            Self::Lifecycle(world) => world.history(),
            Self::Approval(world) => world.history(),
        }
    }

    fn into_history(self) -> History {
        match self {
            Self::Enrolment(world) => world.into_history(),
            Self::Lifecycle(world) => world.into_history(),
            Self::Approval(world) => world.into_history(),
        }
    }
}

impl Scenario {
    /// A fresh world.
    pub fn start(&self, options: &Options) -> World {
        (self.build)(options)
    }

    /// Its own size, with so many faults and nothing wrong.
    pub fn options(&self, faults: u16) -> Options {
        Options { agents: self.agents, faults, defect: None }
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "token-race",
        summary: "agents race for one token",
        agents: 3,
        fewest: 1,
        build: |options| {
            enrolment(options, one_token(options.agents), vec![0; options.agents.into()], &[], false)
        },
    },
    Scenario {
        name: "revocation-race",
        summary: "agents race for one token, somebody revokes it, and two look at it",
        agents: 2,
        fewest: 1,
        build: |options| {
            let people = [Call::Revoke { token: 0 }, Call::Read { token: 0 }, Call::Read { token: 0 }];
            enrolment(options, one_token(options.agents), vec![0; options.agents.into()], &people, false)
        },
    },
    Scenario {
        name: "expiry-race",
        summary: "agents race for one token while its time ends",
        agents: 2,
        fewest: 1,
        build: |options| {
            let options = Options { faults: options.faults.max(1), ..options.clone() };
            enrolment(&options, one_token(options.agents), vec![0; options.agents.into()], &[], false)
        },
    },
    Scenario {
        name: "nonce-race",
        summary: "agents with a token each and one nonce",
        agents: 2,
        fewest: 1,
        build: |options| {
            enrolment(
                options,
                many_tokens(options.agents, "10.0.0.0/16", None),
                own(options.agents),
                &[],
                true,
            )
        },
    },
    Scenario {
        name: "address-race",
        summary: "agents with a token each in two Projects of one Domain, one with a sub-range",
        agents: 3,
        fewest: 1,
        build: |options| {
            let ground = many_tokens(options.agents, "10.0.0.0/24", Some("10.0.0.0/29"));
            enrolment(options, ground, own(options.agents), &[], false)
        },
    },
    Scenario {
        name: "full-pool",
        summary: "agents with a token each, and fewer addresses than agents",
        agents: 4,
        fewest: 1,
        build: |options| {
            let ground = many_tokens(options.agents, "10.0.0.0/29", Some("10.0.0.4/32"));
            enrolment(options, ground, own(options.agents), &[], false)
        },
    },
    Scenario {
        name: "lifecycle",
        summary: "a Resource up and down, with two brokers whose view is old, deleted twice, watched",
        agents: 2,
        fewest: 0,
        build: |options| life(options, 2),
    },
    Scenario {
        name: "provisioning",
        summary: "a Resource up, with two brokers whose view is old, watched",
        agents: 2,
        fewest: 0,
        build: |options| life(options, 0),
    },
    Scenario {
        name: "two-parties",
        summary: "a request that is approved by its requester and by others, rejected, revoked and provisioned with",
        agents: 2,
        fewest: 0,
        build: |options| {
            let decide = |decision| Call::Decide { assignment: 0, decision };
            let mut people = vec![
                (0, decide(Decision::Approve)),
                (1, decide(Decision::Approve)),
                (2, decide(Decision::Reject)),
                (1, decide(Decision::Revoke)),
            ];
            people.extend((0..options.agents).map(|_| (0, Call::Provision { assignment: 0 })));
            people.push((2, decide(Decision::Approve)));
            World::Approval(Box::new(Approval::new(approval::Setup {
                people,
                faults: options.faults,
                defect: options.defect,
            })))
        },
    },
];

/// The one of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// The time of every token, in microseconds.
const LIFETIME: i64 = 3_600_000_000;

fn one_token(_agents: u16) -> Ground {
    Ground {
        tokens: vec![TokenGround { project: 0, expires_at: LIFETIME }],
        projects: vec![ProjectGround { domain: 0, sub_range: None }],
        pools: vec!["10.0.0.0/16".to_owned()],
        ..Ground::default()
    }
}

/// A token for each agent, in turn in a Project without and, if there is a sub-range, in one with it.
fn many_tokens(agents: u16, pool: &str, sub_range: Option<&str>) -> Ground {
    let projects = 1 + u32::from(sub_range.is_some());
    let mut ground = Ground {
        tokens: (0..u32::from(agents))
            .map(|number| TokenGround { project: number % projects, expires_at: LIFETIME })
            .collect(),
        projects: vec![ProjectGround { domain: 0, sub_range: None }],
        pools: vec![pool.to_owned()],
        ..Ground::default()
    };
    if let Some(range) = sub_range {
        ground.projects.push(ProjectGround { domain: 0, sub_range: Some(range.to_owned()) });
    }
    ground
}

fn own(agents: u16) -> Vec<u32> {
    (0..u32::from(agents)).collect()
}

fn enrolment(options: &Options, ground: Ground, agents: Vec<u32>, people: &[Call], one_nonce: bool) -> World {
    World::Enrolment(Box::new(Enrolment::new(enrolment::Setup {
        ground,
        agents,
        one_nonce,
        people: people.to_vec(),
        requests: 3,
        faults: options.faults,
        defect: options.defect,
    })))
}

fn life(options: &Options, deletions: u16) -> World {
    World::Lifecycle(Box::new(Lifecycle::new(lifecycle::Setup {
        deletions,
        watchers: options.agents,
        brokers: 2,
        faults: options.faults,
        defect: options.defect,
    })))
}
