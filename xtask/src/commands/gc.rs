//! `gc`: finds what dead drivers have left, and removes it.

use plexlab_harness::stack::garbage::{self, Garbage, Owner};
use serde_json::json;

use crate::cli::{GcArgs, Output};
use crate::commands::choices;
use crate::exit::{Failure, STACK};
use crate::printer;

pub async fn run(args: GcArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let mut found = garbage::find(&paths, &std::env::temp_dir())?;
    let kept = garbage::kept(&paths);
    let stays = if args.kept { 0 } else { kept.len() };
    if args.kept {
        found.extend(kept);
    }
    let (mut removed, mut stayed) = (Vec::new(), Vec::new());
    for garbage in found {
        let gone = if args.dry_run { Ok(()) } else { garbage.remove(&paths).await };
        if args.output == Output::Text && gone.is_ok() {
            printer::data(&line(&garbage, args.dry_run));
        }
        match gone {
            Ok(()) => removed.push(garbage),
            Err(error) => stayed.push(error.to_string()),
        }
    }
    match args.output {
        Output::Json => {
            let what = if args.dry_run { "found" } else { "removed" };
            printer::json(&json!({what: removed, "stayed": stayed}));
        }
        Output::Text if removed.is_empty() && stayed.is_empty() => printer::say("nothing is left over"),
        Output::Text => {}
    }
    if stays > 0 && args.output == Output::Text {
        let clusters = if stays == 1 { "cluster" } else { "clusters" };
        printer::say(&format!(
            "{stays} {clusters} of kind kept for the next `--keep`; `gc --kept` deletes such, too"
        ));
    }
    if stayed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(STACK, stayed.join("\n       "))
        .help("what could not be removed is still there; try again"))
}

fn line(garbage: &Garbage, dry_run: bool) -> String {
    let owner = match &garbage.owner {
        Owner::Stack { name } => format!("dead stack {name}"),
        Owner::Cluster => "dead cluster of `kube serve`".to_owned(),
        Owner::Bare => "dead control plane of a race".to_owned(),
        Owner::Cache => "half-made entry of the cache".to_owned(),
        Owner::Tutorial => "shell of a dead tutorial".to_owned(),
        Owner::Kept => "kept cluster of kind".to_owned(),
    };
    let verb = if dry_run { "would remove" } else { "removed" };
    format!(
        "{verb}  {owner}: {} ({} files, {} KiB)",
        garbage.path.display(),
        garbage.files,
        garbage.bytes.div_ceil(1024)
    )
}
