//! The command line: every subcommand with its options, and what `--help` teaches.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::logging::LogArgs;
use crate::sync::{CheckArgs, SyncArgs, SyncWorkerArgs};
use crate::units::{parse_duration, parse_size};

/// One filesystem on more than one shore.
///
/// A primary region holds a POSIX filesystem: its metadata in a transactional engine, its data
/// as blocks in any object store. Mirror regions follow its change log and serve reads locally.
///
/// META names a region's metadata: a directory (an embedded engine in it, owned by one process
/// at a time), embedded:///path, or fdb:///etc/foundationdb/fdb.cluster?prefix=NAME.
#[derive(Debug, Parser)]
#[command(name = "farshore", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Say more in the log: -v for every operation, -vv for the libraries too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  farshore quickstart                                        see a volume and its mirror at work
  farshore format /var/lib/fs --store s3://bucket/prefix     make a volume
  farshore mount /var/lib/fs /mnt/fs --listen 0.0.0.0:7440   mount it, and let mirrors follow
  farshore mirror https://primary:7440 --meta /var/lib/east --mount /mnt/east
  farshore token /mnt/fs                                     ... then, in the other region:
  farshore wait /mnt/east TOKEN                              read what was written before TOKEN
  farshore sync ./data s3://bucket/data                      bring a bucket to the state of a directory

Credentials of stores come from the environment: AWS_ACCESS_KEY_ID, GOOGLE_..., AZURE_...";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new volume
    Format(FormatArgs),
    /// Mount a primary region, read and write
    Mount(MountArgs),
    /// Let mirrors follow a region without mounting it
    Serve(ServeArgs),
    /// Follow another region and, with --mount, serve its tree read-only
    Mirror(MirrorArgs),
    /// Show what a region is doing
    Status(StatusArgs),
    /// Print the position of everything written so far, for `farshore wait` in another region
    Token(TokenArgs),
    /// Wait until a mount shows everything up to a token
    Wait(WaitArgs),
    /// Unmount, with everything written stored
    #[command(visible_alias = "umount")]
    Unmount(UnmountArgs),
    /// Make a volume and a mirror in a directory, mount both, and show them at work on real files
    Quickstart(QuickstartArgs),
    /// Free the mount of the parent process, should it be killed and not end
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Bring a directory, a bucket or a volume to the state of another, verified, and resumable
    Sync(Box<SyncArgs>),
    /// Work for a sync job that another machine holds with --coordinator
    SyncWorker(Box<SyncWorkerArgs>),
    /// Compare a directory, a bucket or a volume with another
    Check(Box<CheckArgs>),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// What is to become of its log.
    pub(crate) fn log(&self) -> LogArgs {
        match self {
            Self::Sync(args) => args.log.clone(),
            Self::SyncWorker(args) => args.log.clone(),
            Self::Check(args) => args.log.clone(),
            _ => LogArgs::default(),
        }
    }
}

/// How new blocks are compressed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Not at all: any 64 KiB of a block can be read by itself
    None,
    /// Fast, moderate
    Lz4,
    /// Slower, smaller
    Zstd,
}

/// What is answered has survived the death of the process; what of it has survived a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Everything: each operation is on disk before it is answered
    Commit,
    /// What was fsynced; of the rest, all but the last seconds
    Fsync,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// Where the metadata will be
    pub(crate) meta: String,
    /// Where the blocks will be: file:///path, s3://bucket/prefix?endpoint=URL&region=NAME,
    /// gs://bucket/prefix, az://container/prefix, or mem:// for a try
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// What people call the volume
    #[arg(long, default_value = "farshore")]
    pub(crate) name: String,
    /// Largest block
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size)]
    pub(crate) block_size: u64,
    /// Contents up to this size live in the metadata
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_size)]
    pub(crate) inline_limit: u64,
    /// How new blocks are compressed
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) compress: CompressionArg,
}

/// How a region's rows and blocks are kept at hand.
#[derive(Debug, Args)]
pub(crate) struct RegionArgs {
    /// What survives a power cut: by default what was fsynced on a primary, everything on a mirror
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// A directory for a cache of blocks on local disk; none without it
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Largest size of the disk cache
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    pub(crate) cache_size: u64,
    /// Memory for blocks
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) memory: u64,
}

/// How mirrors reach a publisher.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// This side's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The authority that the other side's certificate must come from, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Listen beyond this machine without TLS: everybody who reaches the port can read everything
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Whether a command stays.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Stay in the foreground, with the log on stderr
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Where the log goes in the background
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Set by the command itself for the process it leaves behind
    #[arg(long, hide = true)]
    pub(crate) background_child: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The primary region's metadata
    pub(crate) meta: String,
    /// Where to mount
    pub(crate) dir: PathBuf,
    /// Let mirrors follow at this address, such as 127.0.0.1:7440
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) region: RegionArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The region's metadata
    pub(crate) meta: String,
    /// The address to listen at, such as 127.0.0.1:7440
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: String,
    #[command(flatten)]
    pub(crate) region: RegionArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// Where a mirror's blocks come from when its caches do not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BlocksFrom {
    /// The region that is followed
    Upstream,
    /// The volume's store, which this machine must be able to read
    Store,
}

#[derive(Debug, Args)]
pub(crate) struct MirrorArgs {
    /// The region to follow: http://host:port, or https:// with --tls-ca
    pub(crate) upstream: String,
    /// Where this mirror's metadata is, or will be
    #[arg(long)]
    pub(crate) meta: String,
    /// Where to mount
    #[arg(long, value_name = "DIR")]
    pub(crate) mount: Option<PathBuf>,
    /// Let further mirrors follow this one at this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// What the upstream's `status` calls this mirror; the host's name without it
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where blocks come from that no cache has
    #[arg(long, value_enum, default_value = "upstream")]
    pub(crate) blocks_from: BlocksFrom,
    #[command(flatten)]
    pub(crate) region: RegionArgs,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A mount, or the metadata of a region that no process has open
    pub(crate) region: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// A mount
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// A mount
    pub(crate) dir: PathBuf,
    /// What `farshore token` printed
    pub(crate) token: String,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// A mount
    pub(crate) dir: PathBuf,
    /// How long to wait for the process behind it to store what was written
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// Where the parent process has a mount
    pub(crate) dir: PathBuf,
    /// The mount's device, as /proc/self/mountinfo has it
    pub(crate) device: String,
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Where to put everything
    #[arg(default_value = "farshore-quickstart")]
    pub(crate) dir: PathBuf,
    /// What to copy into the primary; a tree that is found here without it
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    /// Most to copy
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_size)]
    pub(crate) limit: u64,
    /// Unmount and remove what an earlier quickstart left in DIR
    #[arg(long)]
    pub(crate) clean: bool,
}
