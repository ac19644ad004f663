//! What a run leaves: a summary for people, JSON and JUnit for programs. All texts pass the redactor.

pub mod json;
pub mod junit;
pub mod outcome;
pub mod summary;
