//! The control plane's database, read by SQL as the how-tos do.

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The database did not answer, or not so.
#[derive(Debug, thiserror::Error)]
#[error("query the database: {0}")]
pub struct DatabaseError(#[from] tokio_postgres::Error);

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

/// A connection that ends with this value.
#[derive(Debug)]
pub struct Database {
    client: Client,
    driver: tokio::task::JoinHandle<()>,
}

impl Database {
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
