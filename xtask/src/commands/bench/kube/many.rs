//! Many nodes and pods: made, listed in every way, and watched.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{ClientError, Connection, Request, time_shared};
use super::sizes::{CLIENTS, LISTS, grouped};
use super::{LATENCY, MEMORY, Row, Server, objects};

const PODS: &str = "/api/v1/pods";

/// The begin of a list, or of a Table.
#[derive(Debug, Deserialize)]
struct List {
    metadata: ListMeta,
    #[serde(default, alias = "rows")]
    items: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// Makes them, lists them, watches them.
pub async fn measure(server: &Server) -> Result<Vec<Row>, ClientError> {
    let sizes = server.sizes;
    // Each namespace has its first pod.
    let all = sizes.pods + objects::NAMESPACES.len();
    let (nodes, pods) = (grouped(sizes.nodes), grouped(sizes.pods));
    let mut rows = Vec::new();

    let requests = (0..sizes.nodes).map(objects::create_node).collect();
    let (_, took) = time_shared(&server.endpoint, CLIENTS, requests).await?;
    rows.push(Row::less(format!("make {nodes} Nodes, {CLIENTS} clients"), "ms", vec![millis(took)], None));
    let requests = (0..sizes.pods).map(|index| objects::create_pod(index, sizes.nodes)).collect();
    let (_, took) = time_shared(&server.endpoint, CLIENTS, requests).await?;
    rows.push(Row::less(format!("make {pods} Pods, {CLIENTS} clients"), "ms", vec![millis(took)], None));
    let memory = vec![server.memory().await];
    rows.push(Row::less(format!("resident memory, {pods} Pods"), "MiB", memory, Some(MEMORY)));

    let mut connection = server.endpoint.connect().await?;
    for (what, request, count) in [
        (format!("list {nodes} Nodes"), Request::get("/api/v1/nodes"), sizes.nodes),
        (format!("list {pods} Pods"), Request::get(PODS), all),
        (format!("list {pods} Pods as a Table"), Request::table(PODS), all),
    ] {
        let times = lists(&mut connection, &request, count).await?;
        rows.push(Row::less(what, "ms", times, Some(LATENCY)));
    }
    let (mut totals, mut pages) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let times = paged(&mut connection, sizes.page, all).await?;
        totals.push(millis(times.iter().sum()));
        pages.extend(times);
    }
    let what = format!("list {pods} Pods in pages of {}", sizes.page);
    rows.push(Row::less(what.clone(), "ms", totals, Some(LATENCY)));
    rows.extend(Row::percentiles(&format!("  of which one page of {}", sizes.page), pages));

    let (version, _) = list(&mut connection, &Request::get(PODS), all).await?;
    rows.extend(watched(server, &mut connection, &version).await?);

    let mut values = Vec::new();
    for _ in 0..LISTS {
        let begun = Instant::now();
        let opened = server.endpoint.connect().await?;
        let mut watch = opened.watch(format!("{PODS}?watch=true&resourceVersion=0")).await?;
        values.push(millis(watch.until(all).await?.saturating_duration_since(begun)));
    }
    rows.push(Row::less(format!("watch that begins with {pods} Pods"), "ms", values, Some(LATENCY)));
    Ok(rows)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// One list: its version, and how long it took to its last byte. It must hold so many.
async fn list(
    connection: &mut Connection,
    request: &Request,
    count: usize,
) -> Result<(String, Duration), ClientError> {
    let (list, took) = read(connection, request).await?;
    if list.items.len() == count {
        return Ok((list.metadata.resource_version, took));
    }
    let why = format!("{} items in the place of {count}", list.items.len());
    Err(ClientError::Garbled { path: request.path.clone(), why })
}

async fn read(connection: &mut Connection, request: &Request) -> Result<(List, Duration), ClientError> {
    let begun = Instant::now();
    let body = connection.succeed(request.clone()).await?;
    let took = begun.elapsed();
    let garbled = |error: serde_json::Error| ClientError::Garbled {
        path: request.path.clone(),
        why: error.to_string(),
    };
    Ok((serde_json::from_slice(&body).map_err(garbled)?, took))
}

async fn lists(
    connection: &mut Connection,
    request: &Request,
    count: usize,
) -> Result<Vec<f64>, ClientError> {
    let mut times = Vec::new();
    for _ in 0..LISTS {
        times.push(millis(list(connection, request, count).await?.1));
    }
    Ok(times)
}

/// All pages of a list, one after the other.
async fn paged(connection: &mut Connection, page: usize, count: usize) -> Result<Vec<Duration>, ClientError> {
    let first = format!("{PODS}?limit={page}");
    let (mut path, mut times, mut seen) = (first.clone(), Vec::new(), 0);
    loop {
        let (list, took) = read(connection, &Request::get(path)).await?;
        times.push(took);
        seen += list.items.len();
        if list.metadata.next.is_empty() {
            break;
        }
        // `=` of base64 is the only character of a token that a query reserves.
        path = format!("{first}&continue={}", list.metadata.next.replace('=', "%3D"));
    }
    if seen == count {
        return Ok(times);
    }
    Err(ClientError::Garbled { path: first, why: format!("{seen} items in the place of {count}") })
}

/// A watch that begins where the list ended, and changes of one pod after another.
async fn watched(server: &Server, writer: &mut Connection, version: &str) -> Result<Vec<Row>, ClientError> {
    let pods = grouped(server.sizes.pods);
    let opened = server.endpoint.connect().await?;
    let mut watch = opened.watch(format!("{PODS}?watch=true&resourceVersion={version}")).await?;
    let (mut answers, mut events) = (Vec::new(), Vec::new());
    for index in 0..server.sizes.changes.min(server.sizes.pods) {
        let begun = Instant::now();
        let change = async {
            writer.succeed(objects::change_pod(index)).await?;
            Ok(Instant::now())
        };
        let (answered, came) = futures::future::try_join(change, watch.until(1)).await?;
        answers.push(answered.saturating_duration_since(begun));
        events.push(came.saturating_duration_since(begun));
    }
    let mut rows = Vec::from(Row::percentiles(&format!("patch one of {pods} Pods"), answers));
    rows.extend(Row::percentiles("  until a watch from the list's end has it", events));
    Ok(rows)
}
