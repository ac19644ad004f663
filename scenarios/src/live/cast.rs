//! Who takes part in a race and what they do: a scenario of the simulation as real processes can play it.

use plexlab_race::history::{Call, Ground};
use plexlab_race::scenario::{Options, Scenario, World};
use plexlab_race::sim::Model as _;

/// Who takes part. Callers are numbered: the agents first, then people.
#[derive(Debug, Clone)]
pub struct Cast {
    /// What is there before.
    pub ground: Ground,
    /// The token of each agent.
    pub agents: Vec<u32>,
    /// All agents have the same nonce.
    pub one_nonce: bool,
    /// What people do, and who they are in a history.
    pub people: Vec<(u16, Call)>,
    /// How often an agent asks before it gives up.
    pub requests: u16,
    /// How many things may break.
    pub faults: u16,
    /// Who is around a provisioned Resource, if there is one.
    pub life: Option<Around>,
}

/// Who is around a provisioned Resource, besides people.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// How many watch.
    pub watchers: u16,
    /// How many brokers there are.
    pub brokers: u16,
}

impl Cast {
    /// That of a scenario.
    pub fn of(scenario: &Scenario, options: &Options) -> Self {
        match &scenario.start(options) {
            World::Enrolment(race) => {
                let setup = race.setup();
                let after_agents = u16::try_from(setup.agents.len()).unwrap_or(u16::MAX)..;
                Self {
                    ground: setup.ground.clone(),
                    agents: setup.agents.clone(),
                    one_nonce: setup.one_nonce,
                    people: after_agents.zip(setup.people.iter().copied()).collect(),
                    requests: setup.requests,
                    faults: setup.faults,
                    life: None,
                }
            }
            World::Approval(race) => Self {
                ground: race.ground().clone(),
                agents: Vec::new(),
                one_nonce: false,
                people: race.setup().people.clone(),
                requests: 0,
                faults: options.faults,
                life: None,
            },
            World::Lifecycle(race) => {
                let setup = race.setup();
                let delete = Call::Delete { resource: 0 };
                Self {
                    // Tokens are minted as it goes.
                    ground: Ground { tokens: Vec::new(), ..race.history().ground.clone() },
                    agents: Vec::new(),
                    one_nonce: false,
                    people: (0..setup.deletions).map(|number| (number, delete)).collect(),
                    requests: 0,
                    faults: setup.faults,
                    life: Some(Around { watchers: setup.watchers, brokers: setup.brokers }),
                }
            }
        }
    }

    /// How many parties there are among the people of a race about requests.
    pub(super) fn parties(&self) -> u16 {
        self.people.iter().map(|(by, _)| by + 1).max().unwrap_or(0)
    }

    /// Whether nobody is held at gates: there are too many.
    pub fn is_crowd(&self) -> bool {
        self.agents.len() > super::play::FEW.into()
    }
}
