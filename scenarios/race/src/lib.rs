//! Searches the orders in which things can happen, and checks every history.
pub mod checkers;
pub mod history;
pub mod sim;
