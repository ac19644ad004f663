//! Container images of the stand-ins, made without a base image and without a container engine.
//!
//! `program` looks at the one program that they all hold, `archive` writes the file.

pub mod archive;
pub mod program;
