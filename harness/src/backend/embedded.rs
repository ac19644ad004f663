//! stub
use super::*;
pub const FIXTURE_ARGUMENT: &str = "fixture";
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("x {0}")]
    Postgres(String),
}
#[derive(Debug)]
pub struct EmbeddedCluster;
impl EmbeddedCluster {
    pub fn kubeconfig(&self) -> String {
        String::new()
    }
    pub fn url(&self) -> String {
        String::new()
    }
    pub async fn stop(self) {}
}
pub fn available() -> Result<(), Unavailable> {
    Ok(())
}
pub async fn start(_: ClusterSpec) -> Result<EmbeddedCluster, StartError> {
    Err(StartError::Postgres(String::new()))
}
pub fn installed_postgres() -> Result<PathBuf, String> {
    Err(String::new())
}
pub async fn time_api_server() -> Result<std::time::Duration, StartError> {
    Err(StartError::Postgres(String::new()))
}
