//! Which published operations a server answers, and how.

use serde::Serialize;

use super::spec::Spec;

/// What a server says of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    /// HTTP method in capitals.
    pub method: &'a str,
    /// Path with `{parameters}`.
    pub path: &'a str,
    /// The code of its 501 answer; none when it serves the operation.
    pub not_provisioned: Option<&'a str>,
}

/// The description beside the claims.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Ids of published operations that are served.
    pub served: Vec<String>,
    /// Ids of published operations that are answered with 501, and its code.
    pub not_served: Vec<(String, String)>,
    /// Ids of published operations that the server does not know of. There should be none.
    pub unknown: Vec<String>,
    /// Operations of the server that are not published.
    pub unpublished: Vec<String>,
}

/// Compares. The names of path parameters do not count.
pub fn compare(spec: &Spec, claims: &[Claim<'_>]) -> Coverage {
    let mut coverage = Coverage::default();
    let same = |claim: &Claim<'_>, method: &str, path: &str| {
        claim.method == method && without_names(claim.path) == without_names(path)
    };
    for operation in spec.operations() {
        match claims.iter().find(|claim| same(claim, &operation.method, &operation.path)) {
            Some(Claim { not_provisioned: None, .. }) => coverage.served.push(operation.id.clone()),
            Some(Claim { not_provisioned: Some(code), .. }) => {
                coverage.not_served.push((operation.id.clone(), (*code).to_owned()));
            }
            None => coverage.unknown.push(operation.id.clone()),
        }
    }
    let published =
        |claim: &&Claim<'_>| !spec.operations().iter().any(|known| same(claim, &known.method, &known.path));
    coverage.unpublished =
        claims.iter().filter(published).map(|claim| format!("{} {}", claim.method, claim.path)).collect();
    coverage
}

fn without_names(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}
