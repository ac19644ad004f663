//! `repro`: plays a capsule again, shrinks it, or makes one of a bug report; `timeline` shows it.

use std::path::Path;

use plexlab_race::capsule::{Capsule, LARGEST, Verdict};
use plexlab_race::{form, timeline};
use serde_json::json;

use super::race::write;
use crate::cli::{Output, ReproArgs, TimelineArgs};
use crate::exit::{FAILED, Failure, USAGE};
use crate::printer;

/// Runs `repro`.
pub fn run(args: &ReproArgs) -> Result<(), Failure> {
    let capsule = if args.new {
        let capsule = form::capsule(&read(&args.file)?)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", args.file.display())))?;
        let path = args.file.with_extension("capsule.json");
        write(&path, &capsule.text())?;
        printer::say(&format!("wrote {}", path.display()));
        capsule
    } else {
        open(&args.file)?
    };
    let verdict = capsule.reproduce(args.times).map_err(|error| refused(&args.file, &error))?;
    let (word, text) = match &verdict {
        Verdict::Reproduced if capsule.violations.is_empty() => {
            ("nothing-broken", "nothing is broken in it, and nothing broke".to_owned())
        }
        Verdict::Reproduced => ("reproduced", format!("reproduced, {0} of {0}", args.times)),
        Verdict::NotReproduced { times, of } => {
            ("not-reproduced", format!("not reproduced: {times} of {of}"))
        }
        Verdict::EnvironmentDiffers => (
            "environment-differs",
            format!(
                "environment differs: the same rule is broken, by another history (capsule of version {}, this is {})",
                capsule.version,
                env!("CARGO_PKG_VERSION")
            ),
        ),
    };
    let shown = if args.minimise {
        let small = capsule.minimised().map_err(|error| refused(&args.file, &error))?;
        let path = args.file.with_extension("min.json");
        write(&path, &small.text())?;
        printer::say(&format!(
            "{} steps of {} are left: {}",
            small.schedule.len(),
            capsule.schedule.len(),
            path.display()
        ));
        small
    } else {
        capsule
    };
    match args.output {
        Output::Json => printer::json(&json!({
            "verdict": word, "violations": shown.violations, "schedule": shown.schedule,
        })),
        Output::Text => {
            printer::data(&text);
            for violation in &shown.violations {
                printer::data(&format!("  {}: {}", violation.rule, violation.what));
            }
            let steps: Vec<String> = shown.schedule.iter().map(ToString::to_string).collect();
            printer::data(&format!("  schedule: {}", steps.join(", ")));
        }
    }
    if matches!(verdict, Verdict::Reproduced) { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// Runs `timeline`.
pub fn timeline(args: &TimelineArgs) -> Result<(), Failure> {
    let capsule = open(&args.file)?;
    match &args.html {
        Some(path) => {
            write(path, &timeline::page(&capsule))?;
            printer::data(&path.display().to_string());
        }
        None => printer::data(timeline::text(&capsule).trim_end()),
    }
    Ok(())
}

fn refused(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(USAGE, format!("{} {error}", path.display()))
}

fn open(path: &Path) -> Result<Capsule, Failure> {
    Capsule::read(&read(path)?).map_err(|error| refused(path, &error))
}

fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error| Failure::new(USAGE, format!("failed to read {}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if usize::try_from(length).unwrap_or(usize::MAX) > LARGEST {
        return Err(Failure::new(USAGE, format!("{} is longer than a capsule can be", path.display())));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
