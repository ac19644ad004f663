//! `fork`: independent copies of a running stack.

use std::path::{Path, PathBuf};

use plexlab_harness::paths::Paths;
use plexlab_harness::progress::Progress;
use plexlab_harness::snapshot::kept::SnapshotRecord;
use plexlab_harness::stack::record::{self, Found, StackRecord};
use plexlab_harness::stack::spec::StackName;

use crate::cli::{ForkArgs, Output, StackArgs};
use crate::commands::{choices, down, snapshot, up};
use crate::exit::{Failure, STACK};
use crate::printer;

/// What the directory of a fork's own snapshot begins with. No name of a snapshot does, so it is never listed.
const PREFIX: &str = ".fork-";

pub fn run(args: &ForkArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let stack = choices::running(&paths, &args.of)?;
    let names = names(args, &stack.name)?;
    for name in &names {
        if !matches!(record::find(&paths, name)?, Found::Nothing | Found::Dead) {
            return Err(Failure::new(STACK, format!("a stack named `{name}` runs already"))
                .help("`--name NEW` chooses other names"));
        }
    }
    let temporary = Temporary::new(&paths, PREFIX);
    let record = snapshot::take(&paths, &stack.name, temporary.path())?;
    let made = start_all(&paths, temporary.path(), &record, &names)?;
    match args.output {
        Output::Json => printer::json(&made),
        Output::Text => {
            printer::say(&format!(
                "{} of stack {}, which stood still for {} ms",
                if made.len() == 1 { "1 copy".to_owned() } else { format!("{} copies", made.len()) },
                stack.name,
                record.frozen_ms
            ));
            for stack in &made {
                printer::data(&format!(
                    "{:<20}  ready after {:.2} s, control plane {}",
                    stack.name,
                    stack.ready_after_ms as f64 / 1000.0,
                    stack.addresses.control_plane
                ));
            }
            printer::say(&format!("to use one:  eval \"$(cargo xtask env --name {})\"", made[0].name));
        }
    }
    Ok(())
}

fn names(args: &ForkArgs, of: &str) -> Result<Vec<StackName>, Failure> {
    let base = args.name.clone().unwrap_or_else(|| format!("{of}-fork"));
    let numbered = |number: u32| if args.number == 1 { base.clone() } else { format!("{base}-{number}") };
    (1..=args.number).map(|number| Ok(numbered(number).parse()?)).collect()
}

/// Starts all copies side by side. When one does not start, none stays.
fn start_all(
    paths: &Paths,
    snapshot: &Path,
    record: &SnapshotRecord,
    names: &[StackName],
) -> Result<Vec<StackRecord>, Failure> {
    let outcomes: Vec<Result<StackRecord, Failure>> = std::thread::scope(|scope| {
        let start = |name: &StackName| {
            let args = snapshot::up_args(record, snapshot, name.to_string(), 0, Output::Text);
            scope.spawn(move || up::bring_up(&args, paths, &Progress::silent()))
        };
        let starting: Vec<_> = names.iter().map(start).collect();
        let panicked = |_| Err(Failure::new(STACK, "the start of a copy panicked"));
        starting.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let made: Result<Vec<_>, _> = outcomes.into_iter().collect();
    if made.is_err() {
        for name in names {
            // The failure to start matters more than one to stop.
            let _ = down::run(&StackArgs { name: name.to_string(), output: Output::Text });
        }
    }
    made
}

/// A place for snapshots that are needed only as long as this process lives.
pub struct Temporary(PathBuf);

impl Temporary {
    /// A new name, which begins so; what killed processes left under such names is removed.
    pub fn new(paths: &Paths, prefix: &str) -> Self {
        let root = paths.state.join("snapshots");
        for entry in std::fs::read_dir(&root).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(prefix);
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Self(root.join(format!("{prefix}{}", std::process::id())))
    }

    /// Its path; nothing is there yet.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
