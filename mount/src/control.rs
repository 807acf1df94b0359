//! Questions that a reader of the mount puts to the command, as attributes of its root.

use async_trait::async_trait;
use farshore_meta::Result;

/// Names of extended attributes that belong to the command, not to the volume.
pub(crate) const CONTROL_PREFIX: &[u8] = b"farshore.";

/// Answers virtual extended attributes of the mount's root, whose names begin with `farshore.`.
#[async_trait]
pub trait Control: Send + Sync {
    /// The value of the attribute `name`, prefix included; `None` if there is no such one.
    /// It may take as long as it wants to: no deadline holds and no reader is kept waiting.
    async fn attribute(&self, name: &str) -> Option<Result<Vec<u8>>>;
}

/// A mount without virtual attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoControl;

#[async_trait]
impl Control for NoControl {
    async fn attribute(&self, _name: &str) -> Option<Result<Vec<u8>>> {
        None
    }
}
