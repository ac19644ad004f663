//! `down`: asks a stack's driver to end, waits until it has, and removes what a dead one left.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_harness::stack::record::{self, Found};
use plexlab_harness::stack::remains;
use plexlab_lab::{Check, eventually};

use crate::cli::StackArgs;
use crate::commands::{block_on, choices};
use crate::exit::{Failure, STACK};
use crate::printer;

/// How long an orderly end may take before the driver is killed.
const ORDERLY: Duration = Duration::from_secs(30);
/// The same for a stack in a cluster that goes on, from which its objects must be gone.
const ORDERLY_IN_A_CLUSTER: Duration = Duration::from_secs(300);
/// How long the kernel may take to end a killed driver.
const KILLED: Duration = Duration::from_secs(5);

/// Succeeds when nothing runs.
pub fn run(args: &StackArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let name = args.name.parse()?;
    let gone = |within| {
        eventually(format!("the driver of stack {name} to end"), within, || async {
            match record::find(&paths, &name) {
                Ok(Found::Nothing | Found::Dead) => Check::Done(()),
                Ok(_) => Check::NotYet("it still runs".into()),
                Err(error) => Check::NotYet(error.to_string()),
            }
        })
    };
    let is_attached = remains::is_elsewhere(&paths.stack(args.name.as_str()));
    let orderly = if is_attached { ORDERLY_IN_A_CLUSTER } else { ORDERLY };
    match record::find(&paths, &name) {
        Ok(Found::Nothing) => {
            printer::say(&format!("no stack named `{name}`; nothing to do"));
            return Ok(());
        }
        Ok(Found::Dead) => {}
        Ok(Found::Running(_) | Found::Busy) | Err(record::RecordError::Garbled { .. }) => {
            signal(record::driver(&paths, &name)?, Signal::SIGTERM)?;
            if block_on(async { gone(orderly).await.map_err(|late| Failure::new(STACK, late.to_string())) })
                .is_err()
            {
                printer::say(&format!("the driver did not end within {orderly:?}; it is killed"));
                signal(record::driver(&paths, &name)?, Signal::SIGKILL)?;
                block_on(async { gone(KILLED).await.map_err(|late| Failure::new(STACK, late.to_string())) })?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    block_on(async { Ok(remains::remove(&paths, &name).await?) })?;
    printer::say(&format!("stack `{name}` is down"));
    Ok(())
}

fn signal(driver: Option<u32>, signal: Signal) -> Result<(), Failure> {
    let Some(pid) = driver.and_then(|pid| i32::try_from(pid).ok()) else {
        return Ok(());
    };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(Failure::new(STACK, format!("signal the driver (process {pid}): {error}"))),
    }
}
