//! The tutorial runner with a real bash, and programs of the tests' own on the PATH.

mod documents;
mod play;
mod session;
mod world;
