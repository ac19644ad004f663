//! All scenarios, by name, with what each needs.

use futures::future::LocalBoxFuture;
use plexlab_harness::backend::BackendKind;
use plexlab_harness::clouds::{Cloud, Keeper};
use plexlab_harness::images::{Component, Images};
use plexlab_harness::run::{Failure, Run};
use plexlab_harness::stack::spec::Operator;

use crate::{adopt_via_eso, eso_through_flux, lifecycle, node_life, provisioning, vcluster_external_secrets};

/// Something that a scenario needs and that not every stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The agent can be told which Project it belongs to. The public agent of February 2026 cannot: it takes the
    /// Project from its token.
    AgentProject,
    /// The agent says what its time is. The public agent of February 2026 does not.
    AgentTime,
    /// The control plane can be made to lose a reply, and its requests are recorded.
    ControlPlaneFaults,
    /// The control plane has a broker that works on the stack's own cluster, the seeded catalog and people, and tables
    /// that are known.
    Provisioning,
    /// Authorization of the control plane can be made late, or prompt.
    AuthorizationLag,
    /// The control plane's database is the stack's, with tables that are known.
    Database,
    /// The secret store can be made to fail.
    StoreFaults,
    /// The operator can be held before it writes.
    OperatorGates,
    /// The API server can be restarted.
    ApiServerRestart,
    /// The nodes are the stack's: they can be cordoned, and keep the agent's files when its pod goes.
    OwnNodes,
}

impl Capability {
    /// Why a stack with these images lacks it; none if it has it.
    pub fn missing(self, images: &Images) -> Option<String> {
        let (component, what) = match self {
            Capability::AgentProject => (Component::Plexd, "an agent that can be given a project id"),
            Capability::AgentTime => (Component::Plexd, "an agent that says what its time is"),
            Capability::ControlPlaneFaults => {
                (Component::ControlPlane, "a control plane that can lose a reply on purpose")
            }
            Capability::Provisioning => {
                (Component::ControlPlane, "a control plane that provisions in this stack's cluster")
            }
            Capability::AuthorizationLag => {
                (Component::ControlPlane, "a control plane whose authorization can be made late on purpose")
            }
            Capability::StoreFaults => (Component::Vault, "a secret store that can fail on purpose"),
            Capability::Database => {
                let url = images.remote_control_plane()?;
                return Some(format!(
                    "needs the control plane's database, and that of {url} is not the stack's"
                ));
            }
            Capability::OperatorGates => {
                (Component::ExternalSecrets, "an operator that can be held before it writes")
            }
            // A matter of the backend, not of a program.
            Capability::OwnNodes | Capability::ApiServerRestart => return None,
        };
        (!images.is_stand_in(component)).then(|| {
            format!("needs {what}, which {component}={} is not known to be", images.source(component))
        })
    }
}

/// The body of a scenario.
pub type Body = for<'r> fn(&'r Run) -> LocalBoxFuture<'r, Result<(), Failure>>;

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub summary: &'static str,
    /// What it needs of the stack.
    pub needs: &'static [Capability],
    /// How many nodes it wants when nobody says otherwise.
    pub nodes: u32,
    /// What it does with the customer's secret store.
    pub store: StoreUse,
    /// Clouds that its stack has, besides that of the customer's store.
    pub clouds: &'static [Cloud],
    /// How the External Secrets Operator gets into its stack.
    pub operator: Operator,
    /// What it does.
    pub body: Body,
}

/// What a scenario does with the customer's secret store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreUse {
    /// It uses one, and any will do.
    Any,
    /// It uses none that could be chosen.
    None,
}

impl Scenario {
    /// Why it cannot be played with this store; none if it can.
    pub fn refuses(&self, keeper: Keeper) -> Option<String> {
        match (self.store, keeper) {
            (StoreUse::Any, _) | (StoreUse::None, Keeper::Vault) => None,
            (StoreUse::None, keeper) => {
                Some(format!("uses no secret store of a customer that could be {keeper}"))
            }
        }
    }

    /// Why it cannot be played on this backend with this store; none if it can.
    pub fn stays_off(&self, backend: BackendKind, keeper: Keeper) -> Option<String> {
        if backend == BackendKind::Kubeconfig && self.needs.contains(&Capability::OwnNodes) {
            return Some(format!(
                "cordons nodes, or counts on what the agent leaves on them; those of the {backend} backend are not the \
                 stack's"
            ));
        }
        if backend != BackendKind::Embedded && self.needs.contains(&Capability::ApiServerRestart) {
            return Some(format!(
                "restarts the API server, and that of the {backend} backend is not plexlab's to restart"
            ));
        }
        if backend == BackendKind::Kubeconfig && self.operator == Operator::ByFlux {
            return Some(format!("installs Flux, for which the {backend} backend has no rights"));
        }
        let has_clouds = !self.clouds.is_empty() || keeper.cloud().is_some();
        (backend.has_containers() && has_clouds)
            .then(|| format!("needs a cloud, and the {backend} backend has none"))
    }

    /// Why a stack with these images and this store lacks what it needs; none if it does not.
    pub fn lacks(&self, images: &Images, keeper: Keeper) -> Option<String> {
        // Only Vault's program can be chosen: a cloud's is always the stand-in.
        let of_store = |capability: &Capability| *capability == Capability::StoreFaults;
        let counts = |capability: &&Capability| keeper == Keeper::Vault || !of_store(capability);
        self.needs.iter().filter(counts).find_map(|capability| capability.missing(images))
    }
}

/// All scenarios, in the order in which `run` plays them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "adopt-via-eso",
        summary: "three nodes race for one token; one is adopted, the others get in with fresh tokens",
        needs: &[],
        nodes: 3,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::race::run(run)),
    },
    Scenario {
        name: "adopt-via-eso-expired-token",
        summary: "an expired token is refused with token_expired and adopts nothing",
        needs: &[Capability::Database],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::refused::expired(run)),
    },
    Scenario {
        name: "adopt-via-eso-revoked-token",
        summary: "a revoked token is refused with token_revoked and adopts nothing",
        needs: &[],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::refused::revoked(run)),
    },
    Scenario {
        name: "adopt-via-eso-wrong-kind",
        summary: "a bridge token is refused by the Node endpoint with kind_mismatch and stays unspent",
        needs: &[],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::refused::wrong_kind(run)),
    },
    Scenario {
        name: "adopt-via-eso-wrong-project",
        summary: "a token of another Project is refused with project_mismatch and stays unspent",
        needs: &[Capability::AgentProject],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::refused::wrong_project(run)),
    },
    Scenario {
        name: "adopt-via-eso-missing-key",
        summary: "without the entry in the store nothing starts; once it is there, the adoption goes on by itself",
        needs: &[],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::store::missing_key(run)),
    },
    Scenario {
        name: "adopt-via-eso-store-down",
        summary: "a store that is down at first and back later delays the adoption and loses nothing",
        needs: &[Capability::StoreFaults],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::store::down_then_back(run)),
    },
    Scenario {
        name: "adopt-via-eso-rotated-upstream",
        summary: "a value rotated upstream after consumption is not materialised again",
        needs: &[],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::store::rotated_upstream(run)),
    },
    Scenario {
        name: "adopt-via-eso-lost-reply",
        summary: "a registration whose reply is lost has spent its token; a fresh one is the way out",
        needs: &[Capability::ControlPlaneFaults, Capability::AgentProject],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::lost_reply::run(run)),
    },
    Scenario {
        name: "adopt-via-eso-outages",
        summary: "the operator is killed before it writes, the API server restarted meanwhile: nothing is lost or done twice",
        needs: &[Capability::ControlPlaneFaults, Capability::OperatorGates, Capability::ApiServerRestart],
        nodes: 2,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(adopt_via_eso::outages::run(run)),
    },
    Scenario {
        name: "node-life-outage",
        summary: "a control plane that is down at first, and again later: the agent waits and stays the same node",
        needs: &[Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::outage::run(run)),
    },
    Scenario {
        name: "node-life-key-revoked",
        summary: "a Node whose secret key is revoked is refused and stays refused; a fresh token is the way out",
        needs: &[Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::keys::revoked(run)),
    },
    Scenario {
        name: "node-life-deregistered",
        summary: "a Node deregistered under its running agent, by its owner and on the node, leaves the mesh at once",
        needs: &[Capability::ControlPlaneFaults, Capability::OwnNodes],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::leaving::run(run)),
    },
    Scenario {
        name: "node-life-key-rotated",
        summary: "a Domain's new signing key: the old one vouches for it, and it vouches for what follows",
        needs: &[Capability::ControlPlaneFaults, Capability::OwnNodes],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::keys::rotated(run)),
    },
    Scenario {
        name: "node-life-clock-skew",
        summary: "clocks ten minutes apart: heartbeats and events are refused, and all recovers with the clock",
        needs: &[Capability::ControlPlaneFaults, Capability::AgentTime],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::clock::run(run)),
    },
    Scenario {
        name: "node-life-stream-cut",
        summary: "an event stream cut in the middle of an event is opened again, and the event taken once",
        needs: &[Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::stream::cut(run)),
    },
    Scenario {
        name: "node-life-tampered-event",
        summary: "an event changed on its way is refused by its signature, and the stream goes on",
        needs: &[Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::Any,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::stream::tampered(run)),
    },
    Scenario {
        name: "node-life-restart",
        summary: "fifty nodes whose agents start again at once come back as the nodes they were",
        needs: &[Capability::ControlPlaneFaults],
        nodes: 50,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(node_life::herd::run(run)),
    },
    Scenario {
        name: "provision-resource",
        summary: "two parties sign in and provision a Resource; up and down, every phase follows what is observed",
        needs: &[Capability::Provisioning],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(provisioning::golden::run(run)),
    },
    Scenario {
        name: "two-party-approval",
        summary: "nobody approves the own request, strangers decide nothing, every decision is made once",
        needs: &[Capability::Provisioning],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(provisioning::two_party::run(run)),
    },
    Scenario {
        name: "eventual-consistency",
        summary: "what is created or approved takes effect a moment later, never too early; a revocation does at once",
        needs: &[Capability::Provisioning, Capability::AuthorizationLag],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(provisioning::windows::run(run)),
    },
    Scenario {
        name: "phase-ordering",
        summary: "two witnesses see every phase once and in order, with an outage of each part in each phase",
        needs: &[Capability::Provisioning, Capability::ControlPlaneFaults, Capability::OwnNodes],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(lifecycle::ordering::run(run)),
    },
    Scenario {
        name: "teardown-ordering",
        summary: "the Node leaves before its substrate is deleted; deletion in every phase, and twice",
        needs: &[Capability::Provisioning, Capability::ControlPlaneFaults, Capability::OwnNodes],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(lifecycle::teardown::run(run)),
    },
    Scenario {
        name: "provisioned-token-race",
        summary: "the enrolment Job and intruders with its token: one Node, one address, the others refused",
        needs: &[Capability::Provisioning, Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(lifecycle::token_race::run(run)),
    },
    Scenario {
        name: "failed-substrate",
        summary: "a substrate that cannot be is Failed with a reason, and can be deleted",
        needs: &[Capability::Provisioning, Capability::ControlPlaneFaults],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(lifecycle::failed::run(run)),
    },
    Scenario {
        name: "provision-many",
        summary: "many Resources (PLEXLAB_RESOURCES, 20 by default) up and down while the control plane is killed",
        needs: &[Capability::Provisioning],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[],
        operator: Operator::Applied,
        body: |run| Box::pin(lifecycle::many::run(run)),
    },
    Scenario {
        name: "eso-through-flux",
        summary: "a published specification: ESO by Flux on Azure Key Vault, its deadlock, and the smallest correction",
        needs: &[],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[Cloud::Azure],
        operator: Operator::ByFlux,
        body: |run| Box::pin(eso_through_flux::scenario::run(run)),
    },
    Scenario {
        name: "vcluster-external-secrets",
        summary: "a published page: vCluster shares the host's ESO; each of its manifests and of its common issues",
        needs: &[],
        nodes: 1,
        store: StoreUse::None,
        clouds: &[Cloud::Aws, Cloud::Azure, Cloud::Google],
        operator: Operator::Applied,
        body: |run| Box::pin(vcluster_external_secrets::scenario::run(run)),
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sayable_on_a_command_line() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
    }

    #[test]
    fn a_stack_whose_operator_flux_brings_has_a_way_to_the_charts() {
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.operator == Operator::ByFlux) {
            assert!(!scenario.clouds.is_empty(), "{}", scenario.name);
        }
    }

    #[test]
    fn any_store_will_do_for_an_adoption_and_none_but_the_default_for_others() {
        let aws = Keeper::Cloud(Cloud::Aws);
        assert!(SCENARIOS.iter().all(|scenario| scenario.refuses(Keeper::Vault).is_none()));
        assert_eq!(find("adopt-via-eso").unwrap().refuses(aws), None);
        assert!(find("phase-ordering").unwrap().refuses(aws).unwrap().contains("aws"));
        let images = Images::new(["vault=bin:/bin/sh".parse().unwrap()]);
        let down = find("adopt-via-eso-store-down").unwrap();
        assert!(down.lacks(&images, Keeper::Vault).is_some() && down.lacks(&images, aws).is_none());
    }

    #[test]
    fn scenarios_keep_off_the_nodes_of_others() {
        let off = |name: &str, backend| find(name).unwrap().stays_off(backend, Keeper::Vault);
        assert!(off("phase-ordering", BackendKind::Kubeconfig).unwrap().contains("cordons nodes"));
        assert_eq!(off("phase-ordering", BackendKind::Kind), None);
        assert_eq!(off("adopt-via-eso", BackendKind::Kubeconfig), None);
        let aws = Keeper::Cloud(Cloud::Aws);
        assert!(find("adopt-via-eso").unwrap().stays_off(BackendKind::Kind, aws).unwrap().contains("cloud"));
    }

    #[test]
    fn a_control_plane_elsewhere_leaves_the_scenarios_that_need_no_more_than_its_api() {
        let images = Images::new(["control-plane=url:https://staging.example".parse().unwrap()]);
        let lacks = |name: &str| find(name).unwrap().lacks(&images, Keeper::Vault);
        assert_eq!(lacks("adopt-via-eso"), None);
        assert!(lacks("adopt-via-eso-expired-token").unwrap().contains("database"));
        assert!(lacks("phase-ordering").unwrap().contains("control-plane=url:https://staging.example"));
        let program = Images::new(["control-plane=bin:/bin/sh".parse().unwrap()]);
        assert_eq!(find("adopt-via-eso-expired-token").unwrap().lacks(&program, Keeper::Vault), None);
    }

    #[test]
    fn a_stack_with_a_foreign_agent_lacks_what_only_ours_can() {
        let images = Images::new(["plexd=bin:/bin/sh".parse().unwrap()]);
        assert!(Capability::AgentProject.missing(&images).unwrap().contains("plexd=bin:"));
        assert_eq!(Capability::AgentProject.missing(&Images::default()), None);
    }
}
