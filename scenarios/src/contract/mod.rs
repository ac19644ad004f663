//! plexsphere's published API description, held against what was really exchanged.
//!
//! Owns: reading the description ([`spec`]), checking one exchange ([`check`]), the exchanges of a running stack
//! ([`recorded`]), which operations are served ([`coverage`]), where the published sources disagree ([`drift`]). Does
//! not own: the description itself; the variable `PLEXSPHERE_OPENAPI` names its file, and without it nothing is checked.

pub mod check;
pub mod coverage;
pub mod drift;
pub mod recorded;
pub mod spec;
