//! Tests of whole searches.

mod search;
mod volume;
