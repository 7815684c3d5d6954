//! What a cluster says of itself.

use krafka::admin::{AdminClient, DescribeClusterOptions, DescribeFeaturesOptions};

use super::fault::{Subject, translate};
use super::observer::Observer;
use crate::lag::ReadError;

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its brokers, those that are fenced included.
    pub brokers: usize,
    /// Brokers that are registered and not served; 0 where brokers are too old to tell.
    pub fenced: usize,
    /// Whether groups of the KIP-848 protocol are possible. `None`: not told.
    pub kip848: Option<bool>,
}

impl Observer {
    /// What the cluster says of itself.
    ///
    /// # Errors
    /// [`ReadError`] when no broker answers.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ReadError> {
        self.count(2);
        let timeout = self.inner.options.poll_timeout;
        let options = DescribeClusterOptions::default().timeout(timeout);
        let said = self.inner.admin.describe_cluster(options).await;
        let said = said.map_err(|error| translate(Subject::Cluster, &error))?;
        Ok(ClusterInfo {
            brokers: said.brokers.len(),
            fenced: said.brokers.iter().filter(|broker| broker.is_fenced).count(),
            kip848: kip848(&self.inner.admin, DescribeFeaturesOptions::default().timeout(timeout)).await,
        })
    }
}

/// `group.version` 1 is the new protocol (KIP-848), finalized by default from Kafka 4.0 on.
async fn kip848(admin: &AdminClient, options: DescribeFeaturesOptions) -> Option<bool> {
    let features = admin.describe_features(options).await.ok()?;
    Some(features.finalized.iter().any(|feature| feature.name == "group.version" && feature.max_version_level >= 1))
}
