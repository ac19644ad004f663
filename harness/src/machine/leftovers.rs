//! What a stack that was taken down has left behind: processes, listening ports, its directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use plexlab_lab::{Check, TimedOut, eventually};

/// How long the kernel may take to end what was killed, and the runtime to close what was dropped.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// The children that this process had before the stack was started.
#[derive(Debug)]
pub struct Before {
    children: BTreeSet<u32>,
}

impl Before {
    /// The children of now.
    pub fn look() -> Self {
        Self { children: children() }
    }

    /// Waits until nothing is left of a stack with this directory and a Service at this address.
    ///
    /// # Errors
    /// [`TimedOut`], with what is left.
    pub async fn nothing_left(&self, directory: &Path, service: Option<Ipv4Addr>) -> Result<(), TimedOut> {
        eventually("nothing to be left of the stack", GONE_WITHIN, || async {
            let left = self.left(directory, service);
            if left.is_empty() { Check::Done(()) } else { Check::NotYet(left.join("; ")) }
        })
        .await
    }

    fn left(&self, directory: &Path, service: Option<Ipv4Addr>) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        if directory.exists() {
            left.push(format!("directory {}", directory.display()));
        }
        let processes: BTreeSet<u32> =
            children().difference(&self.children).copied().chain(processes_in(directory)).collect();
        left.extend(processes.into_iter().map(|pid| format!("process {pid} ({})", program(pid))));
        let ports = service.map(listening).unwrap_or_default();
        left.extend(ports.into_iter().map(|address| format!("a listener at {address}")));
        left
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes whose parent is this one, dead ones that nobody has waited for included.
fn children() -> BTreeSet<u32> {
    let own = std::process::id().to_string();
    processes().filter(|pid| parent(*pid).is_some_and(|parent| parent == own)).collect()
}

/// The parent's id: the second field after the program's name, which may hold anything but ends at the last `)`.
fn parent(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned())
}

/// Processes that name the directory in their arguments or environment, or see it in their mounts.
fn processes_in(directory: &Path) -> Vec<u32> {
    let needle = directory.to_string_lossy();
    let names = |pid: u32| {
        ["cmdline", "environ", "mountinfo"].into_iter().any(|file| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(&*needle)
        })
    };
    processes().filter(|pid| *pid != std::process::id() && names(*pid)).collect()
}

fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Addresses of the /16 around this one that somebody listens on.
fn listening(service: Ipv4Addr) -> Vec<String> {
    let block = &service.octets()[..2];
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let addresses = table.lines().skip(1).filter_map(listener);
    addresses.filter(|(ip, _)| ip.octets()[..2] == *block).map(|(ip, port)| format!("{ip}:{port}")).collect()
}

/// The local address of a line of `/proc/net/tcp`, if it is a listener's.
fn listener(line: &str) -> Option<(Ipv4Addr, u16)> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    if *columns.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = columns.get(1)?.split_once(':')?;
    // Four bytes in the order of this machine's memory.
    let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
    Some((Ipv4Addr::from(ip), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_a_port_and_a_directory_that_stay_are_named_and_gone_ones_are_not() {
        let stack = tempfile::tempdir().unwrap();
        let before = Before::look();
        let service = Ipv4Addr::new(127, 5, 7, 7);
        let port = std::net::TcpListener::bind((service, 0)).unwrap();
        let process = duct::cmd!("sleep", "60").env("STACK", stack.path()).unchecked().start().unwrap();
        let pid = process.pids()[0];

        let left = before.left(stack.path(), Some(service)).join("; ");
        let address = format!("a listener at {}", port.local_addr().unwrap());
        assert!(left.contains(&format!("process {pid} (")) && left.contains(&address), "{left}");
        assert!(left.contains("directory "), "{left}");

        process.kill().unwrap();
        process.wait().unwrap();
        drop(port);
        let path = stack.path().to_owned();
        stack.close().unwrap();
        // Other tests may have children and listeners of their own at this moment.
        let left = before.left(&path, Some(service)).join("; ");
        assert!(!left.contains(&format!("process {pid} (")) && !left.contains(&address), "{left}");
        assert!(!left.contains("directory"), "{left}");
    }
}
