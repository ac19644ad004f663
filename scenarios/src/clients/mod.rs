//! Typed clients of the stack's public protocols, as small as the scenarios need them.

pub mod aws;
pub mod azure;
pub mod browser;
pub mod cluster;
pub mod database;
pub mod google;
pub mod history;
pub mod keeper;
pub mod lab;
pub mod many_secrets;
pub mod objects;
pub mod plexsphere;
pub mod rest;
pub mod vault;
