//! Rows that the control plane wrote, read from its outbox table, as timeline entries.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::NoTls;

use crate::timeline::{Entry, Source, Timeline};

/// Every state change appends one row here (contract: control plane, 0.3 and 11). Read as text, so that a
/// column more or less does not matter.
const QUERY: &str = "SELECT to_json(o)::text FROM plexsphere.outbox_events o ORDER BY 1";

/// Reads the outbox into the timeline. A database that does not answer adds nothing: it may be down on purpose.
pub async fn record(timeline: &Timeline, dsn: &str) {
    let Ok((client, connection)) = tokio_postgres::connect(dsn, NoTls).await else {
        return;
    };
    let driver = tokio::spawn(connection);
    if let Ok(rows) = client.query(QUERY, &[]).await {
        for row in rows {
            let text: String = row.get(0);
            if let Ok(row) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
                timeline.add(entry(&row));
            }
        }
    }
    drop(client);
    let _ = driver.await;
}

fn entry(row: &serde_json::Map<String, serde_json::Value>) -> Entry {
    let text = |name: &str| row.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let at = text("occurred_at").parse().unwrap_or_else(|_| Timestamp::now());
    Entry {
        at,
        source: Source::Row,
        actor: "plexsphere.outbox_events".into(),
        what: text("event_type"),
        fields: BTreeMap::new(),
    }
}
