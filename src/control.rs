//! What a mount's process answers to commands: its token, its status, and waiting.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use farshore_meta::FsError;
use farshore_mount::Control;

use crate::control_names::{NOT_REACHED, REACHED, STATUS, TOKEN, parse_wait};
use crate::serving::Serving;
use crate::status::RegionStatus;

/// Answers for one region.
pub(crate) struct RegionControl(pub(crate) Arc<Serving>);

#[async_trait]
impl Control for RegionControl {
    async fn attribute(&self, name: &str) -> Option<farshore_meta::Result<Vec<u8>>> {
        let answer = match name {
            TOKEN => self.0.token().await,
            STATUS => json(self.0.status().await),
            _ => {
                let (timeout, position) = parse_wait(name)?;
                self.0
                    .wait(position, timeout)
                    .await
                    .map(|reached| if reached { REACHED } else { NOT_REACHED }.to_owned())
            }
        };
        Some(answer.map(String::into_bytes).map_err(|error| FsError::BadVolume(format!("{error:#}"))))
    }
}

fn json(status: Result<RegionStatus>) -> Result<String> {
    Ok(serde_json::to_string(&status?)?)
}
