//! Deletions: a request for each key, several at once.

use futures::stream::{self, StreamExt};
use http::Method;

use super::AzureStore;
use super::client::Call;
use crate::error::Result;
use crate::key::Key;
use crate::limits::{MAX_ANSWER_BYTES, SINGLE_DELETES};

impl AzureStore {
    pub(super) async fn delete_all(&self, keys: &[Key]) -> Result<Vec<Result<()>>> {
        let outcomes: Vec<_> = keys.iter().map(|key| self.delete_one(key)).collect();
        Ok(stream::iter(outcomes).buffered(SINGLE_DELETES).collect().await)
    }

    /// A blob with snapshots is not deleted: they would go with it.
    async fn delete_one(&self, key: &Key) -> Result<()> {
        let Ok(name) = self.client.blob_name(key) else { return Ok(()) };
        let call = Call::object(Method::DELETE, "delete", key, name);
        match self.client.fetch(&call, MAX_ANSWER_BYTES).await {
            // A container that is not there is no empty one.
            Err(error) if error.is_absence_of(key) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}
