//! What this machine is and offers: a description for measurements, who holds a port, what a stack has left behind,
//! and the checks of `cargo xtask doctor`.

pub mod checks;
pub mod description;
pub mod leftovers;
pub mod limits;
pub mod memory;
pub mod port_owner;
