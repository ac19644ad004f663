//! Tutorials: documents whose shell blocks are executed in order, in one shell, against a stack.
//!
//! Owns: reading documents ([`document`], [`markdown`], [`plain`], [`prose`], [`prompts`]), the shell
//! ([`session`]), comparing what a document shows with what came out ([`compare`]), playing a document ([`play`])
//! and what came of it ([`outcome`]). Does not own: the stack, and the programs that a document calls.

pub mod compare;
pub mod document;
pub mod markdown;
pub mod outcome;
pub mod plain;
pub mod play;
pub mod prompts;
pub mod prose;
pub mod session;

pub use document::Document;
pub use outcome::{BlockOutcome, Played, Verdict};
pub use play::{Options, play};
