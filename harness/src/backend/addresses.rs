//! The addresses of a stack on the embedded backend: one /16 of 127.0.0.0/8, held as long as the stack lives.
//!
//! | range | what |
//! |---|---|
//! | `127.S.0.0/17` | Services (`127.S.0.1` is `kubernetes`) |
//! | `127.S.128.0/17` | pods; the upper half of it, `127.S.192.0/18`, is for real servers on the envtest backend |
//!
//! S is taken by binding an abstract Unix socket, which the kernel gives back when the process ends in any
//! way, so two stacks never share addresses and a killed one blocks nothing. Abstract sockets and loopback
//! addresses belong to the same network namespace, so the lock guards exactly what it should.

use std::io;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// First and last value of S. 127.0.0.0/16 is everybody's; low ones are popular with other tools (127.0.53.53,
/// 127.0.1.1, minikube and systemd-resolved use 127.0.0.0/16 only).
const RANGE: std::ops::RangeInclusive<u8> = 32..=250;

/// A /16 of loopback addresses, held until dropped.
#[derive(Debug)]
pub struct AddressBlock {
    second_octet: u8,
    _lock: UnixListener,
}

/// No block is free.
#[derive(Debug, thiserror::Error)]
#[error("take a block of loopback addresses: all {} are in use by other stacks", RANGE.count())]
pub struct AllTaken;

impl AddressBlock {
    /// Takes a free block.
    ///
    /// # Errors
    /// [`AllTaken`] when every block is held.
    pub fn take() -> Result<Self, AllTaken> {
        // Start at a place that differs between processes, so that two stacks seldom try the same block.
        let start = std::process::id() as usize;
        let all: Vec<u8> = RANGE.collect();
        (0..all.len())
            .map(|offset| all[(start + offset) % all.len()])
            .find_map(|second_octet| Some(Self { second_octet, _lock: lock(second_octet).ok()? }))
            .ok_or(AllTaken)
    }

    /// Whether somebody holds the block with this S; asking takes nothing.
    pub fn is_held(second_octet: u8) -> bool {
        let name = format!("@{}", lock_name(second_octet));
        let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        table.lines().any(|line| line.split_whitespace().next_back() == Some(name.as_str()))
    }

    /// S: what tells the addresses of this block from those of others.
    pub fn second_octet(&self) -> u8 {
        self.second_octet
    }

    /// Range of the Services, in CIDR notation.
    pub fn services(&self) -> String {
        format!("127.{}.0.0/17", self.second_octet)
    }

    /// The first address of the Services: that of `kubernetes`.
    pub fn first_service(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second_octet, 0, 1)
    }

    /// Range of the pods, in CIDR notation.
    pub fn pods(&self) -> String {
        format!("127.{}.128.0/17", self.second_octet)
    }

    /// Range of the pods where [`AddressBlock::servers`] is used as well.
    pub fn pods_beside_servers(&self) -> String {
        format!("127.{}.128.0/18", self.second_octet)
    }

    /// The address of the stack's own real servers.
    pub fn servers(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second_octet, 192, 1)
    }
}

fn lock_name(second_octet: u8) -> String {
    format!("plexlab-addresses-{second_octet}")
}

fn lock(second_octet: u8) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(lock_name(second_octet))?;
    UnixListener::bind_addr(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_never_share_a_block_and_a_dropped_one_is_free_again() {
        let blocks: Vec<_> = (0..20).map(|_| AddressBlock::take().unwrap()).collect();
        let mut octets: Vec<_> = blocks.iter().map(|block| block.second_octet).collect();
        octets.sort_unstable();
        octets.dedup();
        assert_eq!(octets.len(), 20);
        let first = blocks[0].second_octet;
        drop(blocks);
        assert!(lock(first).is_ok());
    }
}
