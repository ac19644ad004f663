//! Which process listens on a TCP port of this machine.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// Process id; none when the process belongs to someone whose files this user may not read.
    pub pid: Option<u32>,
    /// Name of the program, as the system knows it.
    pub program: Option<String>,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.program, self.pid) {
            (Some(program), Some(pid)) => write!(f, "{program} (process {pid})"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            _ => f.write_str("a process of another user"),
        }
    }
}

/// The process that listens on this TCP port, on any address; none if nobody does.
pub fn port_owner(port: u16) -> Option<PortOwner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| listening_inode(line, port))
    })?;
    Some(process_with_socket(&inode).unwrap_or(PortOwner { pid: None, program: None }))
}

/// The inode of a listening socket in a line of `/proc/net/tcp`, if it is on this port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
    let (_, hex) = local.rsplit_once(':')?;
    (*state == LISTEN && u16::from_str_radix(hex, 16).ok()? == port).then(|| (*inode).to_owned())
}

fn process_with_socket(inode: &str) -> Option<PortOwner> {
    let wanted = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fd")).ok()?;
        descriptors
            .filter_map(Result::ok)
            .any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
            })
            .then_some(())
    };
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path())?;
        let program = fs::read_to_string(entry.path().join("comm")).ok().map(|name| name.trim().to_owned());
        Some(PortOwner { pid: Some(pid), program })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_as_the_owner_of_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(port_owner(port).unwrap().pid, Some(std::process::id()));
        drop(listener);
    }
}
