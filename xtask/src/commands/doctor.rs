//! `doctor`: what this machine has and lacks. Changes nothing but plexlab's own directories.

use plexlab_harness::backend::containers::installed_postgres;
use plexlab_harness::backend::kind;
use plexlab_harness::machine::checks::{self, Finding, Level};
use plexlab_harness::machine::description::Machine;
use serde_json::json;

use crate::cli::{ListArgs, Output};
use crate::commands::choices;
use crate::exit::{Failure, PREREQUISITE};
use crate::printer;

pub async fn run(args: ListArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let search_path: Vec<_> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let kind = kind::cluster::works().await.map_err(|error| error.to_string());
    let findings = checks::all(&paths, installed_postgres(), kind, &search_path);
    let machine = Machine::read();
    match args.output {
        Output::Json => printer::json(&json!({"machine": machine, "findings": findings})),
        Output::Text => {
            printer::data(&machine.to_string());
            findings.iter().for_each(print);
        }
    }
    match findings.iter().filter(|finding| finding.level == Level::Missing).count() {
        0 => Ok(()),
        1 => Err(Failure::new(PREREQUISITE, "one thing that plexlab needs is missing")),
        several => {
            Err(Failure::new(PREREQUISITE, format!("{several} things that plexlab needs are missing")))
        }
    }
}

fn print(finding: &Finding) {
    let word = match finding.level {
        Level::Good => "good",
        Level::Optional => "optional",
        Level::Missing => "MISSING",
    };
    printer::data(&format!("{word:>8}  {:<18} {}", finding.subject, finding.detail));
}
