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
fn processes(lab: &Lab) -> BTreeSet<String> {
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

/// Listening sockets of this machine, as `/proc/net/tcp` names them.
fn listening() -> BTreeSet<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter(|line| line.split_whitespace().nth(3) == Some("0A"))
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let address = columns.nth(1)?;
            let inode = columns.nth(7)?;
            Some(format!("{address} {inode}"))
        })
        .collect()
}

#[tokio::test]
async fn a_killed_driver_leaves_no_process_and_no_port_at_twenty_moments() {
    let lab = Lab::new();
    // The first start fills the cache, and says how long a start takes.
    let begun = std::time::Instant::now();
    lab.run(&["up", "--name", "warm", "--nodes", "2", "--port", "0"]).expect_success("up");
    let a_start = begun.elapsed();
    lab.run(&["down", "--name", "warm"]).expect_success("down");

    for moment in 0..MOMENTS {
        let before = listening();
        let name = format!("killed-{moment}");
        let arguments = ["up", "--foreground", "--name", &name, "--nodes", "2", "--port", "0"];
        let driver = lab.xtask(&arguments).stdout_null().stderr_null().start().unwrap();
        let delay = a_start.mul_f64(1.2 * f64::from(moment) / f64::from(MOMENTS));
        pass(delay);
        let _ = driver.kill();
        let _ = driver.wait();
        let gone = eventually(
            format!("everything of a driver killed after {delay:?} to be gone"),
            GONE_WITHIN,
            || async {
                let (processes, ports) = (processes(&lab), listening());
                let new: Vec<_> = ports.difference(&before).filter(|port| is_a_stacks(port)).collect();
                if processes.is_empty() && new.is_empty() {
                    Check::Done(())
                } else {
                    Check::NotYet(format!("processes {processes:?}, ports {new:?}"))
                }
            },
        );
        if let Err(late) = gone.await {
            panic!("{late}");
        }
        lab.run(&["down", "--name", &name]).expect_success("down of a dead stack");
    }
    let left: Vec<_> = fs::read_dir(lab.state().join("stacks")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs::read_dir(lab.home()).unwrap().count(), 0);
}

/// Whether a listening socket is at an address that only stacks use: 127.32.0.0 and up. Other tests of this
/// machine listen on 127.0.0.1.
fn is_a_stacks(port: &&String) -> bool {
    let second_octet = u8::from_str_radix(port.get(4..6).unwrap_or("00"), 16).unwrap_or(0);
    port.starts_with(|first: char| first.is_ascii_hexdigit())
        && port.get(6..8) == Some("7F")
        && second_octet >= 32
}

#[expect(clippy::disallowed_methods, reason = "the moment of the kill is what this test varies")]
fn pass(delay: Duration) {
    std::thread::sleep(delay);
}
