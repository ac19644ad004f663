//! `run`: plays scenarios, prints each with its time, writes the reports.

use std::path::{Path, PathBuf};
use std::time::Instant;

use plexlab_harness::clouds::Keeper;
use plexlab_harness::machine::description::Machine;
use plexlab_harness::observe::complaints::DriverLog;
use plexlab_harness::paths::create_private_dir;
use plexlab_harness::progress::Progress;
use plexlab_harness::redact::Redactor;
use plexlab_harness::report::outcome::{Outcomes, Verdict};
use plexlab_harness::report::{json, junit, summary};
use plexlab_harness::run::rounded;
use plexlab_harness::stack::remains;
use plexlab_scenarios::registry::{self, SCENARIOS, Scenario};
use plexlab_scenarios::runner::{Options, play};

use crate::cli::{Matrix, Output, RunArgs};
use crate::commands::choices;
use crate::commands::interrupt::interrupted;
use crate::exit::{FAILED, Failure, NOTHING_RAN, STACK, USAGE};
use crate::printer;
use crate::suggestion::nearest;

pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let chosen = chosen(&args.scenarios)?;
    let keepers = keepers(&args)?;
    let (backend, images) = choices::backend(&args.backend)?;
    let reports = std::path::absolute(&args.reports).unwrap_or_else(|_| args.reports.clone());
    let options = Options {
        nodes: args.nodes,
        backend,
        options: choices::options(&args.backend),
        images,
        clouds: choices::clouds(&args.backend)?,
        paths: choices::paths()?,
        evidence: reports.join("evidence"),
        log: DriverLog::install().unwrap_or_default(),
    };
    remains::remove_dead_runs(&options.paths).await;
    let mut outcomes = Outcomes::default();
    let complete = {
        let playing = play_all(&chosen, &keepers, &options, (args.repeat, args.output), &mut outcomes);
        tokio::select! {
            played = playing => played.map(|()| true)?,
            () = interrupted() => false,
        }
    };
    write_reports(&outcomes, &reports)?;
    match args.output {
        Output::Json => printer::json(&json::render(&outcomes, &Machine::read())),
        Output::Text => printer::data(&summary::end(&outcomes)),
    }
    printer::say(&format!("reports: {}", reports.display()));
    if !complete {
        remains::remove_dead_runs(&options.paths).await;
        let what = "interrupted; the reports hold what was played to its end";
        return Err(Failure::new(FAILED, what));
    }
    if outcomes.failed() > 0 {
        Err(Failure::silent(FAILED))
    } else if outcomes.passed() == 0 {
        Err(Failure::new(NOTHING_RAN, "nothing ran: every scenario was skipped"))
    } else {
        Ok(())
    }
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

async fn play_all(
    chosen: &[&'static Scenario],
    keepers: &[Keeper],
    options: &Options,
    (repeat, output): (u32, Output),
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let begun = Instant::now();
    for repetition in 1..=repeat {
        for (scenario, keeper) in
            chosen.iter().flat_map(|scenario| keepers.iter().map(move |keeper| (scenario, *keeper)))
        {
            let outcome = play(scenario, keeper, repetition, options, &Progress::silent()).await?;
            if output == Output::Text {
                printer::data(&summary::line(&outcome));
            }
            if let Verdict::Failed { failure, .. } = &outcome.verdict {
                printer::say(&format!("          {failure}"));
            }
            outcomes.scenarios.push(outcome);
            outcomes.seconds = rounded(begun.elapsed());
        }
    }
    Ok(())
}

fn write_reports(outcomes: &Outcomes, directory: &Path) -> Result<(), Failure> {
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
