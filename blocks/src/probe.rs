//! Asks a store, before a volume is entrusted to it, whether it takes, returns and deletes objects.

use farshore_proto::limits::GROUP_BYTES;

use crate::error::BlockError;
use crate::store::BlockStore;

impl BlockStore {
    /// Writes a small object, reads it back and deletes it. The error says in one line what the
    /// store refused and what to do.
    pub async fn probe(&self) -> Result<(), BlockError> {
        let path = self.prefix().clone().join("probe");
        let content: Vec<u8> = (0..GROUP_BYTES).map(|at| (at ^ (at >> 8)) as u8).collect();
        self.put_object(&path, content.clone().into(), "write a probe object").await?;
        let back = self.read_object(&path, "read a probe object back").await;
        self.delete_object(&path, "delete a probe object").await?;
        let store = self.label().to_owned();
        let faithful = back? == content;
        faithful.then_some(()).ok_or(BlockError::Unfaithful { store })
    }
}
