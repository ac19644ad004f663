//! A driver that is killed with SIGKILL, at any moment, leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use plexlab_lab::{Check, eventually};

use crate::lab::Lab;

/// How many moments are tried.
const MOMENTS: u32 = 20;
/// How long the kernel may take to end what the driver started.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Processes with this lab's state directory in their environment or arguments, or below it as their root or
/// working directory: whatever a stack of this lab may have started.
pub fn processes(lab: &Lab) -> BTreeSet<String> {
    let needle = lab.state().display().to_string();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| {
            fs::read(entry.path().join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (arguments, environment, mounts) = (read("cmdline"), read("environ"), read("mountinfo"));
        let touches =
            [&arguments, &environment, &mounts].into_iter().flatten().any(|text| text.contains(&needle));
        let zombie = read("stat").is_ok_and(|stat| stat.contains(") Z "));
        if touches && !zombie && pid != std::process::id() {
            found.insert(format!("{pid} {}", arguments.unwrap_or_default().replace('\0', " ")));
        }
    }
    found
}

/// Whether a process is one of these, or a child of one: a database that lives takes connections, a process each, which
/// say what they do in place of their arguments.
pub fn belongs_to(process: &str, these: &BTreeSet<String>) -> bool {
    let id_of = |process: &str| process.split(' ').next().and_then(|id| id.parse::<u32>().ok());
    let ids: BTreeSet<u32> = these.iter().filter_map(|process| id_of(process)).collect();
    let Some(id) = id_of(process) else { return false };
    let parent = || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    ids.contains(&id) || parent().is_some_and(|parent| ids.contains(&parent))
}

/// The second octet of the loopback addresses that a driver holds, by the abstract socket that is its lock.
fn address_block(driver: u32) -> Option<u8> {
    let sockets = fs::read_to_string("/proc/net/unix").ok()?;
    let held: Vec<String> = fs::read_dir(format!("/proc/{driver}/fd"))
        .ok()?
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    sockets.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let octet = columns.last()?.strip_prefix("@plexlab-addresses-")?.parse().ok()?;
        held.contains(&format!("socket:[{}]", columns.get(6)?)).then_some(octet)
    })
}

/// Listening sockets at addresses of a stack's block.
fn listening(block: u8) -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_listening = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
    let addresses =
        table.lines().skip(1).filter(is_listening).filter_map(|line| line.split_whitespace().nth(1));
    // Addresses are little-endian hexadecimal: 127.S.x.y is yyxxSS7F.
    let tail = format!("{block:02X}7F");
    addresses.filter(|address| address.get(4..8) == Some(tail.as_str())).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_killed_driver_leaves_no_process_and_no_port_at_twenty_moments() {
    let lab = Lab::new();
    // The first start fills the cache, and says how long a start takes.
    let begun = std::time::Instant::now();
    lab.run(&["up", "--name", "warm", "--nodes", "2", "--port", "0"]).expect_success("up");
    let a_start = begun.elapsed();
    lab.run(&["down", "--name", "warm"]).expect_success("down");

    let mut blocks = 0;
    for moment in 0..MOMENTS {
        let name = format!("killed-{moment}");
        let arguments = ["up", "--foreground", "--name", &name, "--nodes", "2", "--port", "0"];
        let driver = lab.xtask(&arguments).stdout_null().stderr_null().start().unwrap();
        let delay = a_start.mul_f64(1.2 * f64::from(moment) / f64::from(MOMENTS));
        pass(delay);
        let block = driver.pids().first().and_then(|pid| address_block(*pid));
        blocks += u32::from(block.is_some());
        let _ = driver.kill();
        let _ = driver.wait();
        let what = format!("everything of a driver killed after {delay:?} to be gone");
        let gone = eventually(what, GONE_WITHIN, || async {
            let (processes, ports) = (processes(&lab), block.map(listening).unwrap_or_default());
            if processes.is_empty() && ports.is_empty() {
                Check::Done(())
            } else {
                Check::NotYet(format!("processes {processes:?}, ports {ports:?}"))
            }
        });
        if let Err(late) = gone.await {
            panic!("{late}");
        }
        // In turns, the two commands that remove what a dead stack left.
        let remove: &[&str] = if moment % 2 == 0 { &["gc"] } else { &["down", "--name", &name] };
        // A process that is ending has neither arguments nor environment any more, but its lock.
        let removed = eventually(format!("{remove:?} to remove {name}"), GONE_WITHIN, || async {
            lab.run(remove).expect_success("removal of a dead stack");
            let left = lab.state().join("stacks").join(&name).exists();
            if left { Check::NotYet("its directory is there".into()) } else { Check::Done(()) }
        });
        if let Err(late) = removed.await {
            panic!("{late}");
        }
    }
    assert!(
        blocks >= MOMENTS / 2,
        "only {blocks} drivers were seen to hold addresses: the test looks at nothing"
    );
    let left: Vec<_> = fs::read_dir(lab.state().join("stacks")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(lab.home()).unwrap().count(), 0);
}

#[expect(clippy::disallowed_methods, reason = "the moment of the kill is what this test varies")]
fn pass(delay: Duration) {
    std::thread::sleep(delay);
}
