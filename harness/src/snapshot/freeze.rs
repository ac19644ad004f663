//! Stops the processes of containers for a moment, so that all their files are of one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexlab_lab::{Check, TimedOut, eventually};

/// A process stops as soon as it runs next; only one that waits for a disk takes longer.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Processes that are stopped; they go on when this is dropped.
#[derive(Debug, Default)]
pub struct Frozen {
    pids: Mutex<BTreeSet<i32>>,
}

/// Stops these processes and all that descend from them; `roots` is asked again until it names no new one. None of them
/// can start another meanwhile.
///
/// # Errors
/// When one does not stop in time; then all go on.
pub async fn freeze(roots: impl Fn() -> Vec<i32>) -> Result<Frozen, TimedOut> {
    let frozen = Frozen::default();
    eventually("the containers' processes to stop", STOPS_WITHIN, || async {
        let mut running = None;
        for (pid, state) in tree(roots()) {
            if !matches!(state, 'T' | 't' | 'Z' | 'X') {
                running = Some(pid);
                frozen.lock().insert(pid);
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
        }
        match running {
            // Nobody was running while the table was read, so nobody can have started anything since.
            None => Check::Done(()),
            Some(pid) => Check::NotYet(format!("process {pid} runs")),
        }
    })
    .await?;
    Ok(frozen)
}

impl Frozen {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in self.lock().iter() {
            // One that was killed meanwhile needs nothing.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
        }
    }
}

/// Processes and their states: the roots and their descendants.
fn tree(roots: Vec<i32>) -> BTreeMap<i32, char> {
    let table = table();
    let mut found: BTreeMap<i32, char> = BTreeMap::new();
    let mut pending = roots;
    while let Some(pid) = pending.pop() {
        let Some((_, state)) = table.get(&pid) else { continue };
        if found.insert(pid, *state).is_none() {
            pending.extend(table.iter().filter(|(_, (parent, _))| *parent == pid).map(|(child, _)| *child));
        }
    }
    found
}

/// Parent and state of every process.
fn table() -> BTreeMap<i32, (i32, char)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some((pid, (fields.next()?.parse().ok()?, state)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_and_its_children_stand_still_until_the_guard_is_dropped() {
        // The shell's child counts into a file as fast as it can.
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let script = "(n=0; while :; do n=$((n+1)); echo $n > \"$1\"; done) & wait";
        let child = duct::cmd!("sh", "-c", script, "sh", &count).start().unwrap();
        let root = i32::try_from(child.pids()[0]).unwrap();
        let read = || std::fs::read_to_string(&count).unwrap_or_default();
        let grows = |what: &'static str| {
            let before = read();
            eventually(what, Duration::from_secs(10), move || {
                let now = read();
                let before = before.clone();
                async move { if now != before { Check::Done(()) } else { Check::NotYet(now) } }
            })
        };
        grows("the count to begin").await.unwrap();
        let frozen = freeze(|| vec![root]).await.unwrap();
        let pids = frozen.lock().clone();
        assert!(pids.len() >= 2 && pids.contains(&root), "{pids:?}");
        assert!(tree(vec![root]).values().all(|state| *state == 'T'));
        drop(frozen);
        grows("the count to go on").await.unwrap();
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = child.wait();
    }
}
