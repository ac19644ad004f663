//! A person at a browser without scripts: opens a page, signs in, approves.
//!
//! Works with any provider whose pages are plain forms, as Dex's: a form with a password field is a sign-in, a form
//! with a button or hidden field that says to allow is an approval. Owns: reading pages ([`page`]), what to do on
//! one ([`step`]), and doing it ([`person`]). Does not own: what happens to the codes that come of it.

pub mod page;
pub mod person;
pub mod step;

pub use person::{Arrived, BrowserError, Person};
