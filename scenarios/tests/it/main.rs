//! The parts of the scenarios that need no stack.

mod contract;
