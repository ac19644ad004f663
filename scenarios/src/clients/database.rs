//! The control plane's database, read by SQL as the how-tos do.

use plexlab_harness::stack::running::Addresses;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The database did not answer, or not so.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// What it said, or that it did not.
    #[error("query the database: {0}")]
    Query(#[from] tokio_postgres::Error),
    /// It is not the stack's to ask.
    #[error("the stack has no database: its control plane runs elsewhere, with its own")]
    Elsewhere,
}

/// The connection string of a stack's database.
///
/// # Errors
/// [`DatabaseError::Elsewhere`].
pub fn dsn(addresses: &Addresses) -> Result<String, DatabaseError> {
    addresses.dsn().ok_or(DatabaseError::Elsewhere)
}

/// A row of the how-to's verification query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedRow {
    /// The Resource's id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its handle, if any.
    pub external_ref: Option<String>,
    /// How it came to be.
    pub origin: String,
}

/// What a login to a Domain asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginIds {
    /// The Domain.
    pub domain: Uuid,
    /// Its active identity-provider binding.
    pub binding: Uuid,
}

/// A Node as the tables have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: Uuid,
    /// Its address in the mesh.
    pub mesh_ip: String,
    /// Whether it was deregistered.
    pub left_mesh: bool,
    /// Its peers that count: one when it is in the mesh, none when it left.
    pub peers: i64,
}

/// A move between phases, as the outbox has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseMove {
    /// The phase before; none when there was none.
    pub from: Option<String>,
    /// The phase after.
    pub to: String,
}

/// Nodes that cannot leave the mesh as long as this value lives.
#[derive(Debug)]
pub struct HeldNodes {
    /// How many there are.
    pub count: usize,
    database: Database,
}

impl HeldNodes {
    /// Lets them go.
    ///
    /// # Errors
    /// When the database does not answer; they are released all the same.
    pub async fn release(self) -> Result<(), DatabaseError> {
        Ok(self.database.client.batch_execute("ROLLBACK").await?)
    }
}

/// A connection that ends with this value.
#[derive(Debug)]
pub struct Database {
    client: Client,
    driver: tokio::task::JoinHandle<()>,
}

impl Database {
    /// Connects to a stack's.
    ///
    /// # Errors
    /// When the stack has none, or it does not answer or refuses.
    pub async fn of(addresses: &Addresses) -> Result<Self, DatabaseError> {
        Self::connect(&dsn(addresses)?).await
    }

    /// Connects with a connection string.
    ///
    /// # Errors
    /// When the database does not answer or refuses.
    pub async fn connect(dsn: &str) -> Result<Self, DatabaseError> {
        let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the database connection ended");
            }
        });
        Ok(Self { client, driver })
    }

    /// The Project's adopted Resources, by the how-to's own statement.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn adopted(&self, project: Uuid) -> Result<Vec<AdoptedRow>, DatabaseError> {
        let statement = format!(
            "SELECT id, kind, external_ref, origin
        FROM plexsphere.resources
       WHERE project_id = '{project}'
         AND origin = 'Adopted';"
        );
        let rows = self.client.query(&statement, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(AdoptedRow {
                    id: row.try_get("id")?,
                    kind: row.try_get("kind")?,
                    external_ref: row.try_get("external_ref")?,
                    origin: row.try_get("origin")?,
                })
            })
            .collect()
    }

    /// Moves a token's expiry into the past, which no API offers: the shortest life it gives is five minutes.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn expire_token(&self, token: Uuid) -> Result<u64, DatabaseError> {
        let statement = "UPDATE plexsphere.bootstrap_tokens
            SET issued_at = issued_at - interval '1 day', expires_at = expires_at - interval '1 day'
            WHERE id = $1";
        Ok(self.client.execute(statement, &[&token]).await?)
    }

    /// Revokes a Node's secret key and nothing else, which no API offers: deregistration does more.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn revoke_key(&self, node: Uuid) -> Result<u64, DatabaseError> {
        let statement = "UPDATE plexsphere.node_secret_key SET revoked_at = now() WHERE node_id = $1";
        Ok(self.client.execute(statement, &[&node]).await?)
    }

    /// The ids of a blueprint's versions, by the tutorial's own statement.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn blueprint_versions(&self, blueprint: Uuid) -> Result<Vec<Uuid>, DatabaseError> {
        let statement =
            format!("SELECT id FROM plexsphere.blueprint_versions WHERE blueprint_id='{blueprint}'");
        let rows = self.client.query(&statement, &[]).await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// The Nodes of a Resource, those that left included, by when they registered.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn nodes_of(&self, resource: Uuid) -> Result<Vec<NodeRow>, DatabaseError> {
        let statement = "SELECT n.id, host(n.mesh_ip) AS mesh_ip, n.deregistered_at IS NOT NULL AS left_mesh,
                (SELECT count(*) FROM plexsphere.peer p
                  WHERE p.node_id = n.id AND p.deregistered_at IS NULL) AS peers
            FROM plexsphere.nodes n WHERE n.resource_id = $1 ORDER BY n.id";
        let rows = self.client.query(statement, &[&resource]).await?;
        rows.iter()
            .map(|row| {
                Ok(NodeRow {
                    id: row.try_get("id")?,
                    mesh_ip: row.try_get("mesh_ip")?,
                    left_mesh: row.try_get("left_mesh")?,
                    peers: row.try_get("peers")?,
                })
            })
            .collect()
    }

    /// Every move between phases that a Resource made, in order, from the outbox; the first one is from nothing.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn phase_moves(&self, resource: Uuid) -> Result<Vec<PhaseMove>, DatabaseError> {
        let statement = "SELECT payload->>'from' AS before, payload->>'to' AS after
            FROM plexsphere.outbox_events
            WHERE event_type LIKE 'ProvisionedResource%' AND payload->>'resource_id' = $1
            ORDER BY sequence";
        let rows = self.client.query(statement, &[&resource.to_string()]).await?;
        rows.iter()
            .map(|row| Ok(PhaseMove { from: row.try_get("before")?, to: row.try_get("after")? }))
            .collect()
    }

    /// Keeps the Nodes of a Resource from changing until they are released: they cannot leave the mesh.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn hold_nodes(self, resource: Uuid) -> Result<HeldNodes, DatabaseError> {
        self.client.batch_execute("BEGIN").await?;
        let statement = "SELECT id FROM plexsphere.nodes WHERE resource_id = $1 FOR UPDATE";
        let count = self.client.query(statement, &[&resource]).await?.len();
        Ok(HeldNodes { count, database: self })
    }

    /// The ids that a login to the Domain with this slug asks for, by the documented join.
    ///
    /// # Errors
    /// When the query fails or finds no active binding.
    pub async fn login_ids(&self, slug: &str) -> Result<LoginIds, DatabaseError> {
        let statement = "SELECT d.id, b.id FROM plexsphere.domains d
            JOIN plexsphere.idp_bindings b ON b.domain_id = d.id AND b.status = 'active'
            WHERE d.slug = $1";
        let row = self.client.query_one(statement, &[&slug]).await?;
        Ok(LoginIds { domain: row.try_get(0)?, binding: row.try_get(1)? })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
