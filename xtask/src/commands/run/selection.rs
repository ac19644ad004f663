//! What `run` plays: scenarios with stores, of which a shard takes its share.

use plexlab_harness::clouds::Keeper;
use plexlab_scenarios::registry::{self, SCENARIOS, Scenario};

use crate::cli::{Matrix, RunArgs};
use crate::exit::{Failure, USAGE};
use crate::suggestion::nearest;

/// A scenario with the store that its customer has.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub scenario: &'static Scenario,
    pub keeper: Keeper,
}

/// In the registry's order, unless scenarios are named.
pub fn cases(args: &RunArgs) -> Result<Vec<Case>, Failure> {
    let (chosen, keepers) = (chosen(&args.scenarios)?, keepers(args)?);
    let pairs = chosen.iter().flat_map(|scenario| keepers.iter().map(move |keeper| (scenario, keeper)));
    let all = pairs.map(|(scenario, keeper)| Case { scenario, keeper: *keeper }).collect();
    Ok(match args.shard {
        Some(shard) => shard.part(all),
        None => all,
    })
}

/// The stores that each scenario is played with.
fn keepers(args: &RunArgs) -> Result<Vec<Keeper>, Failure> {
    if args.matrix == Some(Matrix::Stores) {
        return Ok(Keeper::all().collect());
    }
    if args.stores.is_empty() {
        return Ok(vec![Keeper::Vault]);
    }
    let find = |name: &String| {
        Keeper::all().find(|keeper| keeper.name() == name).ok_or_else(|| {
            let all = Keeper::all().map(Keeper::name).collect::<Vec<_>>().join(", ");
            Failure::new(USAGE, format!("there is no store `{name}`")).help(format!("there are {all}"))
        })
    };
    args.stores.iter().map(find).collect()
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            registry::find(name).ok_or_else(|| {
                let failure = Failure::new(USAGE, format!("there is no scenario `{name}`"));
                match nearest(name, SCENARIOS.iter().map(|scenario| scenario.name)) {
                    Some(near) => {
                        failure.help(format!("did you mean `{near}`? `cargo xtask list` shows all"))
                    }
                    None => failure.help("`cargo xtask list` shows all"),
                }
            })
        })
        .collect()
}
