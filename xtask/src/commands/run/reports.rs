//! The files that a run leaves, and what it tells GitHub Actions.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use plexlab_harness::machine::description::Machine;
use plexlab_harness::paths::create_private_dir;
use plexlab_harness::redact::Redactor;
use plexlab_harness::report::outcome::Outcomes;
use plexlab_harness::report::{github, json, junit, summary};

use crate::exit::{Failure, STACK};
use crate::printer;

/// Writes `junit.xml`, `report.json` and `summary.txt`.
pub fn write(outcomes: &Outcomes, directory: &Path) -> Result<(), Failure> {
    let fail = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(STACK, format!("write {}: {error}", path.display()))
            .help("`--reports DIR` chooses another place")
    };
    create_private_dir(directory).map_err(|error| fail(directory, &error))?;
    let junit = junit::render(outcomes).map_err(|error| fail(directory, &error))?;
    let report = serde_json::to_string_pretty(&json::render(outcomes, &Machine::read())).unwrap_or_default();
    let lines: Vec<String> = outcomes.scenarios.iter().map(summary::line).collect();
    let summary = format!("{}\n{}\n", lines.join("\n"), summary::end(outcomes));
    let redactor = Redactor::default();
    for (name, text) in [("junit.xml", junit), ("report.json", report), ("summary.txt", summary)] {
        let path: PathBuf = directory.join(name);
        std::fs::write(&path, redactor.redact(&text).as_bytes()).map_err(|error| fail(&path, &error))?;
    }
    Ok(())
}

/// Annotates the failures and adds to the step's summary, when this runs in GitHub Actions. A summary that cannot be
/// written is worth a note, not a failure: the reports have it all.
pub fn tell_github(outcomes: &Outcomes) {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return;
    }
    let redactor = Redactor::default();
    for line in github::annotations(outcomes) {
        printer::say(&redactor.redact(&line));
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    let summary = github::step_summary(outcomes);
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(redactor.redact(&summary).as_bytes()));
    if let Err(error) = written {
        printer::say(&format!("note: write the step's summary {}: {error}", path.display()));
    }
}
