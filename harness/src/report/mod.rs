//! What a run leaves: a summary for people, JSON and JUnit for programs, annotations and a step summary for GitHub. All
//! texts pass the redactor.

pub mod github;
pub mod json;
pub mod junit;
pub mod outcome;
#[cfg(test)]
mod samples;
pub mod summary;
