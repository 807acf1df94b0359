//! A volume's settings, given at format and the same in every region.

use farshore_proto::VolumeId;

/// How a volume's blocks are compressed before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Stored as they are; any 64 KiB can be read by itself.
    None,
    /// LZ4: fast, moderate.
    Lz4,
    /// Zstandard at a fast level.
    Zstd,
}

/// A volume's settings: one durable row.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The volume's identity.
    pub volume_id: VolumeId,
    /// What a person calls it.
    pub name: String,
    /// The URL of the store that surely has every block. It never holds credentials.
    pub store: String,
    /// The key of the volume's block names. Secret: who has it can tell which contents are stored.
    pub block_key: [u8; 32],
    /// Largest block, in bytes.
    pub block_bytes: u32,
    /// Contents up to this many bytes live in a row.
    pub inline_bytes: u32,
    /// How new blocks are compressed.
    pub compression: Compression,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("volume_id", &self.volume_id)
            .field("name", &self.name)
            .field("store", &self.store)
            .field("block_bytes", &self.block_bytes)
            .field("inline_bytes", &self.inline_bytes)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}
