//! What the database wrote, in the order in which it was committed: triggers note each change and its transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use plexlab_lab::{Check, TimedOut, eventually};
use plexlab_rules::assignment::AssignmentState;
use plexlab_rules::phase::Phase;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A row of the notes: written by the same transaction as what it notes, so that what was rolled back is not there.
const INSTALL: &str = "
CREATE SCHEMA IF NOT EXISTS plexlab_race;
CREATE TABLE IF NOT EXISTS plexlab_race.changes (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text NOT NULL,
    what jsonb NOT NULL
);
CREATE OR REPLACE FUNCTION plexlab_race.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'credential_assignments' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('assignment', jsonb_build_object(
            'assignment', NEW.id, 'state', NEW.state, 'by', NEW.decided_by));
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'provisioned_resources' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('phase', jsonb_build_object(
            'resource', NEW.resource_id, 'from', OLD.phase, 'to', NEW.phase));
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'peer' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('anchored', jsonb_build_object('node', NEW.node_id));
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'nodes' AND TG_OP = 'UPDATE' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('gone', jsonb_build_object('node', NEW.id));
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'bootstrap_tokens' AND TG_OP = 'INSERT' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('minted', jsonb_build_object(
            'token', NEW.id, 'resource', NEW.resource_id,
            'expires_at', (extract(epoch FROM NEW.expires_at) * 1000000)::bigint));
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'nodes' THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('node', jsonb_build_object(
            'node', NEW.id, 'handle', NEW.name, 'resource', NEW.resource_id, 'address', host(NEW.mesh_ip)));
        RETURN NULL;
    END IF;
    IF NEW.consumed_at IS NOT NULL
       AND (OLD.consumed_at, OLD.consumed_by_node_id) IS DISTINCT FROM (NEW.consumed_at, NEW.consumed_by_node_id) THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('consumed', jsonb_build_object(
            'token', NEW.id, 'nonce', NEW.consumed_nonce, 'node', NEW.consumed_by_node_id,
            'at', (extract(epoch FROM NEW.consumed_at) * 1000000)::bigint));
    END IF;
    IF NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS DISTINCT FROM NEW.revoked_at THEN
        INSERT INTO plexlab_race.changes (kind, what) VALUES ('revoked', jsonb_build_object('token', NEW.id));
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER plexlab_race AFTER INSERT ON plexsphere.nodes
    FOR EACH ROW EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race AFTER UPDATE ON plexsphere.bootstrap_tokens
    FOR EACH ROW EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race AFTER UPDATE ON plexsphere.credential_assignments
    FOR EACH ROW EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race AFTER UPDATE OF phase ON plexsphere.provisioned_resources
    FOR EACH ROW EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race_peer AFTER INSERT ON plexsphere.peer
    FOR EACH ROW EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race_gone AFTER UPDATE ON plexsphere.nodes
    FOR EACH ROW WHEN (OLD.deregistered_at IS NULL AND NEW.deregistered_at IS NOT NULL)
    EXECUTE FUNCTION plexlab_race.note();
CREATE OR REPLACE TRIGGER plexlab_race_minted AFTER INSERT ON plexsphere.bootstrap_tokens
    FOR EACH ROW WHEN (NEW.resource_id IS NOT NULL) EXECUTE FUNCTION plexlab_race.note();
";

const READ: &str = "
SELECT id, xid::text, (extract(epoch FROM pg_xact_commit_timestamp(xid::xid)) * 1000000)::bigint, kind, what::text
  FROM plexlab_race.changes WHERE id > $1 ORDER BY 3, xid, id";

/// Connections of the control plane that do something.
const BUSY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'plexsphere' AND state <> 'idle'";

/// Requests of the control plane that wait for somebody's lock.
const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity
 WHERE application_name = 'plexsphere' AND wait_event_type = 'Lock'";

const ACTIVITY: &str = "SELECT concat_ws(' ', state, wait_event_type, wait_event, left(regexp_replace(query, '\\s+', ' ', 'g'), 60))
  FROM pg_stat_activity WHERE application_name = 'plexsphere' AND state <> 'idle'";

/// Bytes into the current file of the database's log of changes, and how long such a file is.
const LOG_POSITION: &str = "SELECT (pg_walfile_name_offset(pg_current_wal_insert_lsn())).file_offset,
  pg_size_bytes(current_setting('wal_segment_size'))";

/// Writes so many bytes to the log of changes, and waits until they are there.
const LOG: &str = "SELECT pg_logical_emit_message(true, 'plexlab', repeat('x', $1))";

const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'plexsphere'";

const SHARE: &str = "INSERT INTO plexsphere.relation_tuples
    (object_type, object_id, relation, subject_type, subject_id, created_at, visible_at)
 VALUES ('cloudcredential', $1, 'owner', 'service', $2, now(), now())";

/// How long a database may take to recover.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Bytes at the end of a file of the log of changes that nothing begins in.
const END: i64 = 32 << 10;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its transaction.
    pub transaction: String,
    /// When that was committed, in microseconds since the epoch.
    pub committed: i64,
    /// What.
    pub what: What,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A Node's row.
    Node {
        /// Its id.
        node: Uuid,
        /// The handle that it registered with.
        handle: String,
        /// Its Resource.
        resource: Uuid,
        /// Its address.
        address: String,
    },
    /// A token's `consumed_at`.
    Consumed {
        /// Which.
        token: Uuid,
        /// With which nonce.
        nonce: String,
        /// By which Node.
        node: Uuid,
        /// When, as the row says, in microseconds since the epoch.
        at: i64,
    },
    /// A token's `revoked_at`.
    Revoked {
        /// Which.
        token: Uuid,
    },
    /// A Node has left the mesh.
    Gone {
        /// Which.
        node: Uuid,
    },
    /// A Node has a peer in the mesh.
    Anchored {
        /// Which.
        node: Uuid,
    },
    /// A token was made for a provisioned Resource.
    Minted {
        /// Which.
        token: Uuid,
        /// For which.
        resource: Uuid,
        /// When its time ends, in microseconds since the epoch.
        expires_at: i64,
    },
    /// A provisioned Resource's phase.
    Phase {
        /// Which.
        resource: Uuid,
        /// Before.
        from: Phase,
        /// After.
        to: Phase,
    },
    /// A decision about a request.
    Assignment {
        /// Which.
        assignment: Uuid,
        /// Its state from then on.
        state: AssignmentState,
        /// Who decided, as subjects are written.
        by: String,
    },
}

/// The database, as a race looks at it.
pub struct Witness {
    client: Client,
    /// What was noted until then is of earlier races.
    from: i64,
    /// What of this race was read. What is noted early may be committed late.
    read: BTreeSet<i64>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("from", &self.from).finish_non_exhaustive()
    }
}

async fn connect(dsn: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Witness {
    /// Puts the triggers there.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn install(dsn: &str) -> Result<Self, tokio_postgres::Error> {
        let client = connect(dsn).await?;
        client.batch_execute(INSTALL).await?;
        Ok(Self { client, from: 0, read: BTreeSet::new() })
    }

    /// Connects anew, as after a crash.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reconnect(&mut self, dsn: &str) -> Result<(), TimedOut> {
        let connected = eventually("the database to take the witness's connection", BACK_WITHIN, || async {
            match connect(dsn).await {
                Ok(client) => Check::Done(client),
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        self.client = connected.await?;
        Ok(())
    }

    /// Commits 64 KiB, which a full disk does not take; where a file of the log has just begun, it takes some of these.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn commit(&self) -> Result<(), tokio_postgres::Error> {
        self.client.query_one(LOG, &[&65_536_i32]).await.map(drop)
    }

    /// A race begins: what was noted before is no part of it. Nothing may be under way.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(&mut self) -> Result<(), tokio_postgres::Error> {
        self.news().await?;
        self.from = self.read.last().copied().unwrap_or(self.from);
        self.read.clear();
        Ok(())
    }

    /// What was committed since it was asked last, in the order of the commits.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn news(&mut self) -> Result<Vec<Noted>, tokio_postgres::Error> {
        let mut news = Vec::new();
        for row in self.client.query(READ, &[&self.from]).await? {
            if !self.read.insert(row.get(0)) {
                continue;
            }
            let text: String = row.get(4);
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            // None only when the server does not track it, which is an error here.
            let committed = row.try_get(2)?;
            let noted = what(row.get(3), &value);
            news.extend(noted.map(|what| Noted { transaction: row.get(1), committed, what }));
        }
        Ok(news)
    }

    /// How many requests of the control plane wait for a lock.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn blocked(&self) -> Result<usize, tokio_postgres::Error> {
        self.count(BLOCKED).await
    }

    /// What each of the control plane's connections does, for people.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn activity(&self) -> Result<Vec<String>, tokio_postgres::Error> {
        let rows = self.client.query(ACTIVITY, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// How many connections of the control plane do something, or are in a transaction.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn busy(&self) -> Result<usize, tokio_postgres::Error> {
        self.count(BUSY).await
    }

    /// How many connections the control plane has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn connections(&self) -> Result<usize, tokio_postgres::Error> {
        self.count(CONNECTIONS).await
    }

    /// Brings the database's log of changes to a place that is so far into its file, so that whatever is committed next is
    /// written beyond it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn log_beyond(&self, place: u64) -> Result<(), tokio_postgres::Error> {
        loop {
            let row = self.client.query_one(LOG_POSITION, &[]).await?;
            let (at, length) = (i64::from(row.get::<_, i32>(0)), row.get::<_, i64>(1));
            let place = i64::try_from(place).unwrap_or(i64::MAX).min(length / 2);
            // The last pages may be full with what is to come, which then begins another file.
            if (place..length - END).contains(&at) {
                return Ok(());
            }
            let missing = if at < place { place - at } else { length - at };
            let missing = i32::try_from(missing).unwrap_or(i32::MAX);
            self.client.query_one(LOG, &[&missing]).await?;
        }
    }

    /// Lets a machine of a Domain decide about a credential, as its owner does.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn share_credential(
        &self,
        credential: Uuid,
        machine: Uuid,
    ) -> Result<(), tokio_postgres::Error> {
        let (credential, machine) = (credential.to_string(), machine.to_string());
        self.client.execute(SHARE, &[&credential, &machine]).await.map(drop)
    }

    async fn count(&self, query: &str) -> Result<usize, tokio_postgres::Error> {
        let count: i64 = self.client.query_one(query, &[]).await?.get(0);
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// The server's version.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn version(&self) -> Result<String, tokio_postgres::Error> {
        Ok(self.client.query_one("SHOW server_version", &[]).await?.get(0))
    }

    /// The rows of a table that a condition on `$1` picks, as JSON.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn rows(&self, query: &str, ids: &[Uuid]) -> Result<Vec<Value>, tokio_postgres::Error> {
        let rows = self.client.query(query, &[&ids]).await?;
        let texts = rows.iter().map(|row| row.get::<_, String>(0));
        Ok(texts.filter_map(|text| serde_json::from_str(&text).ok()).collect())
    }
}

fn what(kind: &str, value: &Value) -> Option<What> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let id = |name: &str| value[name].as_str()?.parse::<Uuid>().ok();
    match kind {
        "node" => Some(What::Node {
            node: id("node")?,
            handle: text("handle")?,
            resource: id("resource").unwrap_or_default(),
            address: text("address")?,
        }),
        "consumed" => Some(What::Consumed {
            token: id("token")?,
            nonce: text("nonce")?,
            node: id("node")?,
            at: value["at"].as_i64()?,
        }),
        "revoked" => Some(What::Revoked { token: id("token")? }),
        "gone" => Some(What::Gone { node: id("node")? }),
        "anchored" => Some(What::Anchored { node: id("node")? }),
        "minted" => Some(What::Minted {
            token: id("token")?,
            resource: id("resource")?,
            expires_at: value["expires_at"].as_i64()?,
        }),
        "phase" => Some(What::Phase {
            resource: id("resource")?,
            from: Phase::parse(value["from"].as_str()?)?,
            to: Phase::parse(value["to"].as_str()?)?,
        }),
        "assignment" => Some(What::Assignment {
            assignment: id("assignment")?,
            state: AssignmentState::parse(value["state"].as_str()?)?,
            by: text("by")?,
        }),
        _ => None,
    }
}
