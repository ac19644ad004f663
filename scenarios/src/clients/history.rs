//! What the control plane's tables tell of provisioned Resources. Every question has a connection of its own: the
//! database may have been away since the last one.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use uuid::Uuid;

use super::database::{Database, DatabaseError, PhaseMove};

/// The tables, by their connection string.
#[derive(Debug, Clone)]
pub struct History {
    dsn: String,
}

/// A Node of a Resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: Uuid,
    /// Its address in the mesh.
    pub address: String,
    /// When it left the mesh.
    pub deregistered_at: Option<Timestamp>,
}

impl History {
    /// The tables behind this connection string.
    pub fn new(dsn: String) -> Self {
        Self { dsn }
    }

    async fn rows(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let (client, connection) = tokio_postgres::connect(&self.dsn, NoTls).await?;
        let driver = tokio::spawn(connection);
        let rows = client.query(statement, parameters).await;
        drop(client);
        let _ = driver.await;
        Ok(rows?)
    }

    /// Every move that a Resource made, in order.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn moves(&self, resource: Uuid) -> Result<Vec<PhaseMove>, DatabaseError> {
        Database::connect(&self.dsn).await?.phase_moves(resource).await
    }

    /// How many provisioned Resources of all Projects are in each phase.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn phases(&self) -> Result<Vec<(String, i64)>, DatabaseError> {
        let statement = "SELECT phase, count(*) FROM plexsphere.provisioned_resources GROUP BY 1 ORDER BY 1";
        let rows = self.rows(statement, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// A Resource's phase.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn phase(&self, resource: Uuid) -> Result<Option<String>, DatabaseError> {
        let statement = "SELECT phase FROM plexsphere.provisioned_resources WHERE resource_id = $1";
        let rows = self.rows(statement, &[&resource]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// Why a Resource failed.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn failure_reason(&self, resource: Uuid) -> Result<Option<String>, DatabaseError> {
        let statement = "SELECT failure_reason FROM plexsphere.provisioned_resources WHERE resource_id = $1";
        let rows = self.rows(statement, &[&resource]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.flatten())
    }

    /// A Resource's Nodes, those that left included.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn nodes(&self, resource: Uuid) -> Result<Vec<NodeRow>, DatabaseError> {
        let statement = "SELECT id, host(mesh_ip), deregistered_at FROM plexsphere.nodes
              WHERE resource_id = $1 ORDER BY id";
        let rows = self.rows(statement, &[&resource]).await?;
        let read = |row: &Row| {
            Ok(NodeRow { id: row.try_get(0)?, address: row.try_get(1)?, deregistered_at: row.try_get(2)? })
        };
        rows.iter().map(read).collect()
    }

    /// How many of a Resource's tokens can still be redeemed.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn live_tokens(&self, resource: Uuid) -> Result<i64, DatabaseError> {
        let statement = "SELECT count(*) FROM plexsphere.bootstrap_tokens
              WHERE resource_id = $1 AND consumed_at IS NULL AND revoked_at IS NULL";
        let rows = self.rows(statement, &[&resource]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }

    /// The newest version of a blueprint, read as the tutorial reads it.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn blueprint_version(&self, blueprint: Uuid) -> Result<Option<Uuid>, DatabaseError> {
        let statement = "SELECT id FROM plexsphere.blueprint_versions WHERE blueprint_id = $1
              ORDER BY created_at DESC LIMIT 1";
        let rows = self.rows(statement, &[&blueprint]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    /// A process of the database server: that of a connection, which stays open.
    ///
    /// # Errors
    /// When the server is not reached.
    pub async fn server_process(&self) -> Result<ServerProcess, DatabaseError> {
        let (client, connection) = tokio_postgres::connect(&self.dsn, NoTls).await?;
        let connection = tokio::spawn(connection);
        let id = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok(ServerProcess { id, _client: client, connection })
    }
}

/// A process of the database server that lives as long as nobody kills it.
pub struct ServerProcess {
    /// Its id, where the server runs.
    pub id: i32,
    _client: tokio_postgres::Client,
    connection: tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl ServerProcess {
    /// Whether it has gone.
    pub fn is_gone(&self) -> bool {
        self.connection.is_finished()
    }
}
