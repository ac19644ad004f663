//! `list`: the scenarios.

use plexlab_scenarios::registry::SCENARIOS;
use serde_json::json;

use crate::cli::{ListArgs, Output};
use crate::exit::Failure;
use crate::printer;

pub fn run(args: &ListArgs) -> Result<(), Failure> {
    match args.output {
        Output::Json => {
            let all: Vec<_> = SCENARIOS
                .iter()
                .map(|scenario| json!({"name": scenario.name, "summary": scenario.summary, "nodes": scenario.nodes}))
                .collect();
            printer::json(&all);
        }
        Output::Text => {
            for scenario in SCENARIOS {
                printer::data(&format!("{:<32}  {}", scenario.name, scenario.summary));
            }
        }
    }
    Ok(())
}
