//! Snapshots of running stacks, and stacks that are born of them.
//!
//! A snapshot is everything of one moment: while the containers' processes stand still ([`freeze`]), the API's objects
//! are cloned and the volumes copied ([`copy`]). The database is one of those volumes: to Postgres it looks like a power
//! cut, from which it recovers by its own log. [`kept`] is what lies on disk, [`moved`] what must change for another
//! stack. Every stack that is born of one has addresses, certificates and tokens of its own.

pub mod copy;
pub mod freeze;
pub mod kept;
pub mod moved;
pub mod take;
