//! How far a job that follows a volume has come: one row, which survives the process.

use std::sync::Arc;

use farshore_meta::engine::Engine;
use farshore_proto::Position;

use super::rows::Rows;
use crate::journal::{JobIdentity, JournalError, Result};

const KEY: &[u8] = b"W";
const MAGIC: &[u8; 4] = b"FSSW";
const V1: u8 = 1;
const BEGUN: u8 = 1;
const REACHED: u8 = 2;
const LEN: usize = 4 + 1 + 32 + 1 + Position::LEN + 8;

/// The record of one job, in an engine that holds that and the volume's names.
#[derive(Debug, Clone)]
pub struct WatchRecord {
    rows: Rows,
    job: JobIdentity,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A pass over everything has begun when the volume stood here.
    Begun(Position),
    /// Everything up to here is at the target.
    Reached {
        /// Where in the volume's history.
        position: Position,
        /// What the target had when everything was last compared: what a part of it is a part of.
        target_entries: u64,
    },
}

impl Place {
    /// After which position changes have to be looked at.
    pub fn position(&self) -> Position {
        match self {
            Self::Begun(position) | Self::Reached { position, .. } => *position,
        }
    }
}

impl WatchRecord {
    /// That of this job.
    pub fn new(engine: Arc<dyn Engine>, job: JobIdentity) -> Self {
        Self { rows: Rows(engine), job }
    }

    /// How far the job has come; none if it never began.
    ///
    /// # Errors
    /// `OtherJob` when the record is that of another job.
    pub async fn get(&self) -> Result<Option<Place>> {
        let Some(value) = self.rows.get(KEY).await? else { return Ok(None) };
        let damaged = || JournalError::Damaged { what: "record of a watch", why: "it is not what was written".into() };
        let fields: &[u8; LEN] = value.as_ref().try_into().map_err(|_| damaged())?;
        let (magic, rest) = fields.split_at(4);
        if magic != MAGIC {
            return Err(damaged());
        }
        let (version, rest) = rest.split_first().ok_or_else(damaged)?;
        if *version != V1 {
            return Err(JournalError::OtherFormat { what: "record of a watch", found: *version, known: V1 });
        }
        let (fingerprint, rest) = rest.split_at(32);
        if fingerprint != self.job.fingerprint {
            return Err(JournalError::OtherJob { there: "a job that watches another volume or target".to_owned() });
        }
        let (state, rest) = rest.split_first().ok_or_else(damaged)?;
        let (position, entries) = rest.split_at(Position::LEN);
        let position = Position::try_from(position).map_err(|_| damaged())?;
        let target_entries = u64::from_be_bytes(entries.try_into().map_err(|_| damaged())?);
        match *state {
            BEGUN => Ok(Some(Place::Begun(position))),
            REACHED => Ok(Some(Place::Reached { position, target_entries })),
            _ => Err(damaged()),
        }
    }

    /// Notes how far the job has come.
    pub async fn put(&self, place: &Place) -> Result<()> {
        let (state, entries) = match place {
            Place::Begun(_) => (BEGUN, 0),
            Place::Reached { target_entries, .. } => (REACHED, *target_entries),
        };
        let mut value = Vec::with_capacity(LEN);
        value.extend_from_slice(MAGIC);
        value.push(V1);
        value.extend_from_slice(&self.job.fingerprint);
        value.push(state);
        value.extend_from_slice(&place.position().to_bytes());
        value.extend_from_slice(&entries.to_be_bytes());
        self.rows.write(&[(KEY.to_vec(), Some(value))]).await
    }
}
