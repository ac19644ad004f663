//! Tests of whole searches.
