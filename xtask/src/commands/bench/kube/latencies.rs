//! Single objects: created, read, changed and deleted, by one client and by many.

use super::client::{ClientError, Request, time_shared};
use super::objects::{Kind, Verb};
use super::sizes::CLIENTS;
use super::{Row, Server};

fn requests(kind: Kind, verb: Verb, run: &str, count: usize) -> Vec<Request> {
    (0..count).map(|index| verb.request(kind, &format!("{run}-{index}"))).collect()
}

/// The same, not measured: connections, caches and, in the real one, everything that is made at first use.
pub async fn warm_up(server: &Server) -> Result<(), ClientError> {
    let count = server.sizes.sequential / 10;
    for kind in [Kind::ConfigMap, Kind::Pod] {
        for verb in Verb::ALL {
            time_shared(&server.endpoint, 2, requests(kind, verb, "warm", count)).await?;
        }
    }
    Ok(())
}

/// Both kinds, all verbs.
pub async fn measure(server: &Server) -> Result<Vec<Row>, ClientError> {
    let sizes = server.sizes;
    let mut rows = Vec::new();
    for kind in [Kind::ConfigMap, Kind::Pod] {
        let mut connection = server.endpoint.connect().await?;
        for verb in Verb::ALL {
            let times = connection.time_each(requests(kind, verb, "one", sizes.sequential)).await?;
            rows.extend(Row::percentiles(&format!("{} {}", verb.name(), kind.name()), times));
        }
        for verb in Verb::ALL {
            let requests = requests(kind, verb, "many", sizes.concurrent);
            let (times, took) = time_shared(&server.endpoint, CLIENTS, requests).await?;
            let what = format!("{} {}, {CLIENTS} clients", verb.name(), kind.name());
            rows.extend(Row::percentiles(&what, times));
            rows.push(Row::rate(what, sizes.concurrent, took));
        }
    }
    Ok(rows)
}
