//! The External Secrets Operator through Flux, on Azure Key Vault with a managed identity: a published specification,
//! carried out file by file.
//!
//! [`scenario`] is the script, [`tree`] the files, [`repository`] the client of the server that Flux reads from.

pub mod repository;
pub mod scenario;
pub mod tree;
