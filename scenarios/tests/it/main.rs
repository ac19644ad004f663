//! The parts of the scenarios that need no stack; the tutorial runner with a real bash, and programs of the tests' own
//! on the PATH.

mod contract;
mod documents;
mod play;
mod session;
mod world;
