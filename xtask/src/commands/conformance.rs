//! `conformance`: holds a program to its published reference and writes the table.

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::backend::standalone::remove_all_dead;
use plexlab_harness::images::{Component, ImageChoice, Images};
use plexlab_harness::paths::{create_private_dir, write_private_file};
use plexlab_scenarios::plexd_kubernetes::ledger::Finding;
use plexlab_scenarios::plexd_kubernetes::suite::{self, Judgement, Options, SuiteError};
use plexlab_scenarios::plexd_kubernetes::{manifests, report};
use serde_json::{Value, json};

use crate::cli::{ConformanceArgs, Output, Suite};
use crate::commands::choices;
use crate::commands::interrupt::interrupted;
use crate::exit::{FAILED, Failure, NOTHING_RAN, PREREQUISITE, STACK, USAGE};
use crate::printer;
use crate::suggestion::nearest;

pub async fn run(args: ConformanceArgs) -> Result<(), Failure> {
    let Suite::Plexd = args.suite;
    let chosen: Result<Vec<ImageChoice>, _> = args.images.iter().map(|text| text.parse()).collect();
    let images = Images::new(chosen?).with_agent(choices::agent(args.agent.as_deref())?);
    if let Some(other) =
        Component::ALL.into_iter().find(|one| *one != Component::Plexd && !images.is_stand_in(*one))
    {
        return Err(Failure::new(USAGE, format!("the suite runs plexd only, and no {other}")));
    }
    let options = Options {
        images,
        only: args.checks,
        without: args.without,
        manifests: manifests::load(),
        backend: args.backend.parse()?,
        choices: BackendOptions {
            node_image: args.node_image,
            image_archives: args.load.iter().map(choices::absolute).collect(),
            ..BackendOptions::default()
        },
        live: !args.manifests_only,
        paths: choices::paths()?,
    };
    if options.live {
        ready(options.backend)?;
    }
    let judgement = tokio::select! {
        judgement = suite::play(&options) => judgement.map_err(failure)?,
        () = interrupted() => return Err(given_up(&options).await),
    };
    let reports = std::path::absolute(&args.reports).unwrap_or_else(|_| args.reports.clone());
    write(&judgement, &reports)?;
    match args.output {
        Output::Json => printer::json(&document(&judgement)),
        Output::Text => print(&judgement),
    }
    printer::say(&format!("reports: {}", reports.display()));
    if judgement.count(|finding| matches!(finding, Finding::Fail { .. })) > 0 {
        Err(Failure::silent(FAILED))
    } else if judgement.count(|finding| matches!(finding, Finding::Pass { .. })) == 0 {
        Err(Failure::new(NOTHING_RAN, "nothing could be tried"))
    } else {
        Ok(())
    }
}

/// After an interruption. What was of this process is gone; a cluster in containers is not.
async fn given_up(options: &Options) -> Failure {
    match remove_all_dead(&options.paths).await {
        Ok(()) => Failure::new(FAILED, "interrupted; nothing is left running"),
        Err(error) => Failure::new(FAILED, format!("interrupted; {error}"))
            .help("`cargo xtask gc` tries again to remove what is left"),
    }
}

/// Whether pods can be run here.
pub fn ready(backend: BackendKind) -> Result<(), Failure> {
    backend.available().map_err(|missing| {
        Failure::new(PREREQUISITE, missing.to_string()).help("`--manifests-only` judges what needs no pods")
    })
}

/// What a suite that could not be played means for the command.
pub fn failure(error: SuiteError) -> Failure {
    let text = error.to_string();
    match error {
        SuiteError::Unknown(name) => {
            let failure = Failure::new(USAGE, text);
            match nearest(&name, suite::ids()) {
                Some(near) => failure.help(format!("there is `{near}`")),
                None => failure.help("the table's first column shows the ids"),
            }
        }
        SuiteError::Source { .. } => Failure::new(USAGE, text),
        SuiteError::Prepare(_) => Failure::new(STACK, text),
        SuiteError::Cluster(error) => error.into(),
    }
}

/// The judgement and what is behind its failures.
fn document(judgement: &Judgement) -> Value {
    let mut document = json!(judgement);
    document["findings"] = json!(judgement.gaps());
    document
}

fn print(judgement: &Judgement) {
    for judged in &judgement.statements {
        let line = |word: &str, note: &str| format!("{word:>8}  {:<28}  {}{note}", judged.id, judged.text);
        match &judged.finding {
            Finding::Pass { .. } => printer::data(&line("pass", "")),
            Finding::Skipped { why } => printer::data(&line("skipped", &format!(" ({why})"))),
            Finding::Fail { expected, seen, evidence, cause } => {
                let follows = cause.map(|cause| format!(" (follows from {cause})")).unwrap_or_default();
                printer::data(&line("FAIL", &follows));
                printer::data(&format!("            expected  {expected}"));
                printer::data(&format!(
                    "            seen      {}",
                    seen.replace('\n', "\n                      ")
                ));
                if !evidence.is_empty() {
                    printer::data(&format!(
                        "            evidence  {}",
                        evidence.replace('\n', "\n                      ")
                    ));
                }
                printer::data(&format!("            again     {}", judged.rerun));
            }
        }
    }
    for gap in judgement.gaps() {
        let (failed, untried) = (gap.failed.len() + 1, gap.untried.len());
        let line = format!(
            "finding: {} ({}): {failed} failed, {untried} not tried",
            gap.kind.describe(),
            gap.root.id
        );
        printer::data(&line);
    }
    printer::data(&report::summary(judgement));
}

fn write(judgement: &Judgement, directory: &std::path::Path) -> Result<(), Failure> {
    let unwritable =
        |error: &dyn std::fmt::Display| Failure::new(FAILED, format!("write the reports: {error}"));
    create_private_dir(directory).map_err(|error| unwritable(&error))?;
    let json = serde_json::to_string_pretty(&document(judgement)).map_err(|error| unwritable(&error))?;
    let junit = report::junit(judgement).map_err(|error| unwritable(&error))?;
    let files = [
        ("conformance.md", report::markdown(judgement)),
        ("conformance.json", json),
        ("conformance.xml", junit),
    ];
    for (name, text) in files {
        write_private_file(&directory.join(name), text.as_bytes()).map_err(|error| unwritable(&error))?;
    }
    Ok(())
}
