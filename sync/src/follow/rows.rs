//! Rows of an engine of our own, written in transactions that no engine refuses.

use std::sync::Arc;

use bytes::Bytes;
use farshore_meta::engine::{Engine, EngineError, Isolation, KeyValue, RangeRead};

use crate::journal::{JournalError, Result};

/// Rows of one transaction: some 300 bytes each stay far below every limit.
const ROWS_AT_ONCE: usize = 2_000;

/// An engine.
#[derive(Debug, Clone)]
pub(super) struct Rows(pub(super) Arc<dyn Engine>);

impl Rows {
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let read = async {
            let mut txn = self.0.begin().await?;
            txn.get(key, Isolation::Snapshot).await
        };
        read.await.map_err(|error| failed("be read", &error))
    }

    pub(super) async fn prefix(&self, prefix: &[u8]) -> Result<Vec<KeyValue>> {
        let read = async {
            let mut txn = self.0.begin().await?;
            Ok(txn.range(&RangeRead::prefix(prefix), Isolation::Snapshot).await?.rows)
        };
        read.await.map_err(|error| failed("be read", &error))
    }

    /// Puts rows, and deletes those without a value.
    pub(super) async fn write(&self, rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<()> {
        for few in rows.chunks(ROWS_AT_ONCE) {
            let write = async {
                let mut txn = self.0.begin().await?;
                for (key, value) in few {
                    match value {
                        Some(value) => txn.set(key, value),
                        None => txn.clear(key),
                    }
                }
                txn.commit().await
            };
            // The rows are only ours, and writing them twice changes nothing.
            write.await.map_err(|error| failed("be written", &error))?;
        }
        Ok(())
    }
}

fn failed(action: &str, error: &EngineError) -> JournalError {
    JournalError::failed(action, error)
}
