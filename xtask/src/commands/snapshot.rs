//! `snapshot`: keeps the state of a stack under a name, and brings stacks up from it.

use std::path::Path;

use plexlab_harness::paths::Paths;
use plexlab_harness::snapshot::kept::{self, SnapshotRecord};
use plexlab_harness::stack::control::{ControlError, ask_for_snapshot};
use plexlab_harness::stack::record::{self, Found};
use plexlab_harness::stack::spec::StackName;
use serde_json::json;

use crate::cli::{BackendArgs, ListArgs, Output, RestoreArgs, SaveArgs, SnapshotCommand, StackArgs, UpArgs};
use crate::commands::{block_on, choices, down, up};
use crate::exit::{Failure, STACK};
use crate::printer;

pub fn run(command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Save(args) => save(&args),
        SnapshotCommand::Restore(args) => restore(&args),
        SnapshotCommand::List(args) => list(&args),
        SnapshotCommand::Delete(args) => {
            let name = args.snapshot.parse()?;
            kept::delete(&choices::paths()?, &name)?;
            printer::say(&format!("snapshot `{name}` is gone"));
            Ok(())
        }
    }
}

fn save(args: &SaveArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let name: StackName = args.snapshot.parse()?;
    let stack = choices::running(&paths, &args.stack.name)?;
    let record = take(&paths, &stack.name, &kept::directory(&paths, &name))?;
    match args.stack.output {
        Output::Json => printer::json(&json!({"name": name.to_string(), "snapshot": record})),
        Output::Text => {
            printer::say(&format!(
                "snapshot `{name}` of stack {}: {}; the stack stood still for {} ms",
                record.stack,
                size(&record),
                record.frozen_ms
            ));
            printer::say(&format!("`cargo xtask snapshot restore {name}` brings it up"));
        }
    }
    Ok(())
}

/// Asks the driver of a running stack for a snapshot.
pub fn take(paths: &Paths, stack: &str, directory: &Path) -> Result<SnapshotRecord, Failure> {
    let mut taken = None;
    block_on(async {
        let asked = ask_for_snapshot(&paths.stack(stack), directory).await;
        taken = Some(asked.map_err(|error| {
            match &error {
                ControlError::Connection(_) | ControlError::Late(_) => Failure::new(STACK, error.to_string())
                    .help(format!("`cargo xtask logs driver --name {stack}` shows what its driver does")),
                ControlError::Refused(_) => Failure::new(STACK, error.to_string()),
            }
        })?);
        Ok(())
    })?;
    taken.ok_or_else(|| Failure::new(STACK, "the stack's driver gave no answer"))
}

fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let directory = kept::directory(&paths, &args.snapshot.parse()?);
    let record = kept::read(&directory)?;
    let name = args.name.clone().unwrap_or_else(|| record.stack.clone());
    let is_there = !matches!(record::find(&paths, &name.parse()?)?, Found::Nothing | Found::Dead);
    if is_there && !args.replace {
        return Err(Failure::new(STACK, format!("a stack named `{name}` runs already"))
            .help("`--replace` takes it down first, `--name OTHER` brings the snapshot up beside it"));
    }
    if is_there {
        down::run(&StackArgs { name: name.clone(), output: args.output })?;
    }
    let args = up_args(&record, &directory, name, args.port, args.output);
    up::run(&args)
}

/// What `up` would be asked for a stack that is born of a snapshot.
pub fn up_args(record: &SnapshotRecord, directory: &Path, name: String, port: u16, output: Output) -> UpArgs {
    UpArgs {
        name,
        nodes: u32::try_from(record.nodes.len()).unwrap_or(u32::MAX),
        backend: BackendArgs {
            kubeconfig: None,
            context: None,
            allow_context: None,
            node_image: None,
            load: Vec::new(),
            keep: false,
            profile: None,
            backend: None,
            images: record.images.clone(),
            owner_token_file: None,
            owner_domain: None,
            crds: None,
            agent: None,
            clouds: record.clouds.iter().map(ToString::to_string).collect(),
        },
        foreground: false,
        port,
        dry_run: false,
        from: Some(directory.to_owned()),
        output,
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let all = kept::list(&choices::paths()?)?;
    match args.output {
        Output::Json => {
            let rows: Vec<_> = all
                .iter()
                .map(|(name, record)| match record {
                    Ok(record) => json!({"name": name.to_string(), "snapshot": record}),
                    Err(error) => json!({"name": name.to_string(), "unusable": error.to_string()}),
                })
                .collect();
            printer::json(&rows);
        }
        Output::Text if all.is_empty() => {
            printer::say("no snapshot; `cargo xtask snapshot save NAME` makes one of a running stack");
        }
        Output::Text => {
            for (name, record) in all {
                let text = match record {
                    Ok(record) => format!("of {}, {}, taken {}", record.stack, size(&record), record.taken),
                    Err(error) => format!("unusable: {error}"),
                };
                printer::data(&format!("{:<20}  {text}", name.as_str()));
            }
        }
    }
    Ok(())
}

fn size(record: &SnapshotRecord) -> String {
    let mebibytes = record.volume_bytes as f64 / f64::from(1 << 20);
    format!("{} nodes, {} objects, {mebibytes:.0} MiB of volumes", record.nodes.len(), record.objects)
}
