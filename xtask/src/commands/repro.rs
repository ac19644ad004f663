//! `repro`: plays a capsule again, shrinks it, or makes one of a bug report.

use std::path::Path;

use plexlab_race::capsule::{Capsule, LARGEST, Verdict};
use plexlab_race::form;
use plexlab_race::turns::texts;
use plexlab_scenarios::evidence::{LARGEST as LARGEST_RUN, RunCapsule};
use serde_json::json;

use super::race::write;
use crate::cli::{Output, ReproArgs};
use crate::exit::{FAILED, Failure, USAGE};
use crate::printer;

/// How often a race is played when nobody says otherwise.
pub const TIMES: u32 = 100;

/// Runs `repro`.
pub fn run(args: ReproArgs) -> Result<(), Failure> {
    let args = &args;
    let capsule = if args.new {
        let capsule = form::capsule(&read(&args.file, LARGEST)?)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", args.file.display())))?;
        let path = args.file.with_extension("capsule.json");
        write(&path, &capsule.text())?;
        printer::say(&format!("wrote {}", path.display()));
        capsule
    } else {
        let text = read(&args.file, LARGEST_RUN)?;
        if RunCapsule::is_one(&text) {
            return super::block_on(super::repro_run::run(args, &text));
        }
        capsule(&args.file, &text)?
    };
    if capsule.live.is_some() {
        return super::block_on(super::race_live::repro(args, capsule));
    }
    let times = args.times.unwrap_or(TIMES);
    let verdict = capsule.reproduce(times).map_err(|error| refused(&args.file, &error))?;
    let (word, text) = match &verdict {
        Verdict::Reproduced if capsule.violations.is_empty() => {
            ("nothing-broken", "nothing is broken in it, and nothing broke".to_owned())
        }
        Verdict::Reproduced => ("reproduced", format!("reproduced, {0} of {0}", times)),
        Verdict::NotReproduced { times: shown, of } => {
            ("not-reproduced", format!("not reproduced: {shown} of {of}"))
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
            texts(&small.schedule).len(),
            texts(&capsule.schedule).len(),
            path.display()
        ));
        small
    } else {
        capsule
    };
    match args.output {
        Output::Json => printer::json(&json!({
            "verdict": word, "violations": shown.violations, "schedule": texts(&shown.schedule),
        })),
        Output::Text => {
            printer::data(&text);
            for violation in &shown.violations {
                printer::data(&format!("  {}: {}", violation.rule, violation.what));
            }
            printer::data(&format!("  schedule: {}", texts(&shown.schedule).join(", ")));
        }
    }
    if matches!(verdict, Verdict::Reproduced) { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

pub fn refused(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(USAGE, format!("{} {error}", path.display()))
}

/// The capsule of a race in a file.
pub fn capsule(path: &Path, text: &str) -> Result<Capsule, Failure> {
    Capsule::read(text).map_err(|error| refused(path, &error))
}

/// The text of a file that is not longer than this.
pub fn read(path: &Path, largest: usize) -> Result<String, Failure> {
    let unreadable = |error| Failure::new(USAGE, format!("failed to read {}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if usize::try_from(length).unwrap_or(usize::MAX) > largest {
        let text =
            format!("{} is longer than the {largest} bytes that are read of such a file", path.display());
        return Err(Failure::new(USAGE, text));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
