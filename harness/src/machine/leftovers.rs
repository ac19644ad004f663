//! What a stack that was taken down has left behind: processes, listening ports, its directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use plexlab_lab::{Check, TimedOut, eventually};

use crate::backend::addresses::AddressBlock;

/// How long the kernel may take to end what was killed, and the runtime to close what was dropped, on a machine where
/// one look at all processes takes a second.
const GONE_WITHIN: Duration = Duration::from_secs(20);

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
            names_path(&String::from_utf8_lossy(&bytes), &needle)
        })
    };
    processes().filter(|pid| *pid != std::process::id() && names(*pid)).collect()
}

/// The command lines of processes whose environment has this variable with this value.
pub(crate) fn carrying(variable: &str, value: &str) -> Vec<Vec<String>> {
    let wanted = format!("{variable}={value}");
    let words = |pid: u32, file: &str| -> Vec<String> {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    processes()
        .filter(|pid| words(*pid, "environ").contains(&wanted))
        .map(|pid| words(pid, "cmdline"))
        .collect()
}

/// Whether a process, this one included, has the directory or something below it open, is in it, or names it.
pub(crate) fn in_use(directory: &Path) -> bool {
    let opens = |pid: u32| {
        let descriptors =
            fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        let links = descriptors.map(|entry| entry.path()).chain([format!("/proc/{pid}/cwd").into()]);
        links.filter_map(|link| fs::read_link(link).ok()).any(|target| target.starts_with(directory))
    };
    processes().any(opens) || !processes_in(directory).is_empty()
}

/// Whether a text names this path, or one below it; `/run-1-10` is not below `/run-1-1`.
fn names_path(text: &str, path: &str) -> bool {
    let goes_on = |character: char| character.is_alphanumeric() || ".-_".contains(character);
    text.match_indices(path).any(|(at, _)| !text[at + path.len()..].starts_with(goes_on))
}

fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    address: SocketAddrV4,
    inode: u64,
}

/// Addresses of the /16 around this one that somebody listens on. Another stack may have taken the block the moment
/// that it was free; then only this process's own listeners are left over.
fn listening(service: Ipv4Addr) -> Vec<String> {
    let block = service.octets()[1];
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let listeners: Vec<Listener> = table
        .lines()
        .skip(1)
        .filter_map(listener)
        .filter(|listener| listener.address.ip().octets()[..2] == service.octets()[..2])
        .collect();
    // After the listeners: whoever has them took the block before.
    let taken = !listeners.is_empty() && AddressBlock::is_held(block);
    let own = if taken { own_sockets() } else { BTreeSet::new() };
    let left = listeners.into_iter().filter(|listener| !taken || own.contains(&listener.inode));
    left.map(|listener| listener.address.to_string()).collect()
}

/// The inodes of this process's sockets.
fn own_sockets() -> BTreeSet<u64> {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().filter_map(Result::ok);
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let inode = |target: std::path::PathBuf| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    targets.filter_map(inode).collect()
}

/// A line of `/proc/net/tcp`, if it is a listener's.
fn listener(line: &str) -> Option<Listener> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    if *columns.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = columns.get(1)?.split_once(':')?;
    // Four bytes in the order of this machine's memory.
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    let address = SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, inode: columns.get(9)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_named_by_one_that_only_begins_like_it() {
        let path = "/state/stacks/run-1-1";
        for text in ["/state/stacks/run-1-1", "A=/state/stacks/run-1-1/kubelet", "x /state/stacks/run-1-1\0y"]
        {
            assert!(names_path(text, path), "{text}");
        }
        for text in ["/state/stacks/run-1-10/kubelet", "/state/stacks/run-1-1.tmp", "/state/stacks/run-1-"] {
            assert!(!names_path(text, path), "{text}");
        }
    }

    #[test]
    fn listeners_of_a_stack_that_took_the_block_are_not_left_over_but_own_ones_are() {
        let block = AddressBlock::take().unwrap();
        let service = block.first_service();
        // Another process's listener: a child that has inherited nothing of this one's tables.
        let script = format!(
            "import socket,sys\ns=socket.socket(); s.bind(('{service}',0)); s.listen(); print(s.getsockname()[1],flush=True); sys.stdin.read()"
        );
        let (stdin, keep) = std::io::pipe().unwrap();
        let Ok(other) = duct::cmd!("python3", "-c", script).stdin_file(stdin).reader() else {
            plexlab_lab::skip::skipped("listeners of another stack", "python3 is not on PATH");
            return;
        };
        let mut port = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&other), &mut port).unwrap();
        let address = format!("{service}:{}", port.trim());
        assert!(!listening(service).contains(&address), "the block is held by a stack that lives");
        let own = std::net::TcpListener::bind((service, 0)).unwrap();
        assert!(listening(service).contains(&own.local_addr().unwrap().to_string()));
        drop(block);
        assert!(listening(service).contains(&address), "nobody holds the block");
        drop(keep);
    }

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
