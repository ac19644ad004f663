//! Whether what came out is what a document shows: by shape, since ids and times are others each time.

mod difference;
mod json;
mod phases;
mod shape;

pub use difference::{Difference, compare};
pub use shape::Bindings;
