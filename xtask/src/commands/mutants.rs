//! `mutants`: the conformance suite, tried on agents and manifests that lack one documented behaviour each.
//!
//! A mutant is killed when its statement fails and no other does; what rests on it is skipped. Mutants of manifests need
//! no cluster, but for those that only a cluster can tell; these, and each mutant of the agent, play the whole suite on a
//! cluster of their own.

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::images::Images;
use plexlab_scenarios::plexd_kubernetes::statements::STATEMENTS;
use plexlab_scenarios::plexd_kubernetes::suite::{self, Options};
use plexlab_scenarios::plexd_kubernetes::{manifests, mutants};
use serde::Serialize;
use serde_json::json;

use crate::cli::{MutantsArgs, Output};
use crate::commands::choices;
use crate::commands::conformance::{failure, ready};
use crate::commands::interrupt::interrupted;
use crate::exit::{FAILED, Failure, NOTHING_RAN};
use crate::printer;

/// One mutant, and what became of it.
#[derive(Debug, Serialize)]
struct Tried {
    /// The statement that must fail.
    statement: &'static str,
    /// What was taken away.
    without: String,
    /// Whether exactly that statement failed.
    killed: bool,
    /// What failed.
    failed: Vec<&'static str>,
    /// The command that tries it again.
    rerun: String,
}

struct Mutant {
    statement: &'static str,
    without: String,
    options: Options,
}

pub async fn run(args: MutantsArgs) -> Result<(), Failure> {
    let mutants = chosen(&args)?;
    if mutants.is_empty() {
        return Err(Failure::new(NOTHING_RAN, "no mutant is of such a statement"));
    }
    if mutants.iter().any(|mutant| mutant.options.live) {
        ready(BackendKind::Embedded)?;
    }
    let mut all = Vec::new();
    for mutant in mutants {
        let judgement = tokio::select! {
            judgement = suite::play(&mutant.options) => judgement.map_err(failure)?,
            () = interrupted() => return Err(Failure::new(FAILED, "interrupted; nothing is left running")),
        };
        let failed = judgement.failed();
        let tried = Tried {
            statement: mutant.statement,
            killed: failed == [mutant.statement],
            failed,
            rerun: format!("cargo xtask mutants --check {}", mutant.statement),
            without: mutant.without,
        };
        if args.output == Output::Text {
            let word = if tried.killed { "killed" } else { "SURVIVED" };
            printer::data(&format!(
                "{word:>8}  {:<28}  {} ({:.1} s)",
                tried.statement, tried.without, judgement.seconds
            ));
            if !tried.killed {
                printer::data(&format!("            failed    {}", tried.failed.join(", ")));
            }
        }
        all.push(tried);
    }
    let killed = all.iter().filter(|tried| tried.killed).count();
    match args.output {
        Output::Json => printer::json(&json!({"killed": killed, "mutants": all})),
        Output::Text => printer::data(&format!("{killed} of {} mutants killed", all.len())),
    }
    if killed == all.len() { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

fn chosen(args: &MutantsArgs) -> Result<Vec<Mutant>, Failure> {
    let paths = choices::paths()?;
    let whole = manifests::load();
    let options = |without: Option<String>, manifests, live| Options {
        images: Images::default(),
        backend: BackendKind::Embedded,
        choices: BackendOptions::default(),
        only: Vec::new(),
        without,
        manifests,
        live,
        paths: paths.clone(),
    };
    let rows = manifests::rows().into_iter().map(|row| Mutant {
        statement: row.id,
        without: format!("kind/plexd/{} without {}", row.file, row.at),
        options: options(None, row.mutant(&whole), false),
    });
    let behaviours = STATEMENTS.iter().filter_map(|statement| {
        let without = statement.mutant.ok()?;
        Some(Mutant {
            statement: statement.id,
            without: format!("plexd --without {without}"),
            options: options(Some(without.to_owned()), whole.clone(), true),
        })
    });
    let wanted = |mutant: &Mutant| {
        args.checks.is_empty()
            || args.checks.iter().any(|name| {
                name == mutant.statement
                    || mutant.statement.split_once('.').is_some_and(|(group, _)| group == name)
            })
    };
    let served = mutants::served().into_iter().map(|wrong| Mutant {
        statement: wrong.statement,
        without: wrong.what.to_owned(),
        options: options(None, wrong.manifests, true),
    });
    let all: Vec<Mutant> = rows.chain(behaviours).chain(served).filter(wanted).collect();
    Ok(match args.shard {
        Some(shard) => shard.part(all),
        None => all,
    })
}
