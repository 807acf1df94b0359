//! What `farshore sync` and `farshore check` can be told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use farshore_sync::{Key, MaxDelete, Rule, Schedule, Shard};

use crate::cli::TlsArgs;
use crate::logging::LogArgs;
use crate::units::{parse_duration, parse_size};

const SYNC_EXAMPLES: &str = "\
Examples:
  farshore sync ./data /mnt/backup/data                      make the second like the first, delete nothing
  farshore sync ./data s3://bucket/data --delete --dry-run   see what would be copied and deleted
  farshore sync 's3://a/x?endpoint=http://one:8333' 's3://b/x?endpoint=http://two:8333'
  farshore sync s3://bucket/data ./data --checksum --report outcomes.jsonl
  farshore sync s3://bucket/data 'az://container/data?account=NAME'
  farshore sync s3://a/x s3://b/x --coordinator 10.0.0.1:7450 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem
  farshore sync https://host/pub/ gs://bucket/pub
  farshore sync ./data farshore:///srv/meta//data            into a volume, without a mount
  farshore sync 'farshore:///srv/copy?upstream=http://primary:7440' s3://bucket/data --watch 10s

A command that was killed goes on where it was when it is given again.
Exit codes: 0 all done, 6 a store cannot be reached, 15 some objects failed, 16 deletions were withheld,
17 the journal is another job's, 18 ended by a signal.";

const CHECK_EXAMPLES: &str = "\
Examples:
  farshore check ./data s3://bucket/data         compare sizes and contents, by checksums where both sides know any
  farshore check ./data /mnt/backup --size-only --json
  farshore check --manifest 2026.jsonl s3://bucket/data    read it all, and compare it with what was once copied there

Exit codes: 0 both are equal, 6 a store cannot be reached, 14 they differ, 15 some could not be compared.";

/// Where the objects are.
#[derive(Debug, Args)]
pub(crate) struct SidesArgs {
    /// Where the objects are: a path, file:///path, s3://bucket/prefix?endpoint=URL&region=NAME,
    /// gs://bucket/prefix, az://container/prefix?account=NAME, http(s)://host/directory/ of a web server, or
    /// farshore://META//path, a volume that no process has open; with ?upstream=URL, META becomes or goes on as a mirror
    /// of what listens there
    #[arg(value_name = "SRC")]
    pub(super) source: String,
    /// Where they are to be, in the same forms but for web servers; a directory is made if the one above it is there
    #[arg(value_name = "DST")]
    pub(super) target: String,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

/// How the stores are reached, and what their keys are.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccessArgs {
    /// The profile of ~/.aws/credentials for SRC; without it, FARSHORE_SOURCE_AWS_ACCESS_KEY_ID and so on for SRC alone,
    /// or AWS_ACCESS_KEY_ID and so on for both; other clouds have AZURE_… and GOOGLE_… in the same manner
    #[arg(long, value_name = "NAME")]
    pub(super) source_profile: Option<String>,
    /// The profile for DST; without it, FARSHORE_TARGET_AWS_ACCESS_KEY_ID and so on, or AWS_ACCESS_KEY_ID and so on
    #[arg(long, value_name = "NAME")]
    pub(super) target_profile: Option<String>,
    /// Between files and objects: keep no modes, owners, times, extended attributes and symbolic links in the metadata
    /// of objects, and take none from there
    #[arg(long)]
    pub(super) no_posix: bool,
    /// From objects to files: have no file remember its object in the extended attribute user.farshore.origin; each
    /// object's metadata are then asked for again in every pass
    #[arg(long)]
    pub(super) no_origins: bool,
    /// Between files and objects: what becomes of keys that a disk cannot hold, such as a//b, /a, .. or a beside a/b
    #[arg(long, value_enum, value_name = "WHAT", default_value = "escape")]
    pub(super) keys: KeysArg,
    /// Between files and objects: which objects symbolic links are
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "metadata")]
    pub(super) links: LinksArg,
}

/// Which objects symbolic links are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinksArg {
    /// Under the link's own key, known by their metadata, as s3fs and Amazon have them
    Metadata,
    /// As rclone's --links has them: .rclonelink is added to the key
    Rclone,
}

/// What becomes of keys that a disk cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeysArg {
    /// They are files in .farshore-keys, under names that give the very keys back
    Escape,
    /// Each is reported as failed
    Refuse,
}

/// `farshore sync`.
#[derive(Debug, Args)]
#[command(after_help = SYNC_EXAMPLES)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(super) sides: SidesArgs,
    /// Change nothing: print what would be copied and deleted, and the totals
    #[arg(long, short = 'n')]
    pub(super) dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Go on after the first pass until a signal comes: TIME after each pass (more or less by a fifth) another one; from
    /// a volume, once something changed there, and of that alone
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with_all = ["dry_run", "no_journal", "coordinator"])]
    pub(super) watch: Option<Duration>,
    #[command(flatten)]
    pub(super) compare: CompareArgs,
    #[command(flatten)]
    pub(super) write: WriteArgs,
    #[command(flatten)]
    pub(super) delete: DeleteArgs,
    #[command(flatten)]
    pub(super) choose: ChooseArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    #[command(flatten)]
    pub(super) share: ShareArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// How a job is shared with other machines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sharing the job with other machines")]
pub(crate) struct ShareArgs {
    /// Hold the job for workers that call at this address, such as 127.0.0.1:7450; each is started with
    /// `farshore sync-worker ADDR` and has credentials of its own. With --workers 0 they do all of it
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["dry_run", "no_journal"])]
    pub(super) coordinator: Option<String>,
    /// A file with a secret of 16 bytes or more that workers must show too
    #[arg(long, value_name = "FILE", requires = "coordinator")]
    pub(super) token_file: Option<PathBuf>,
    /// After which silence a worker is taken for dead, and what it had goes to another
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_lease)]
    pub(super) lease: Duration,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

const WORKER_EXAMPLES: &str = "\
Examples:
  farshore sync-worker 127.0.0.1:7450 --token-file token
  farshore sync-worker https://10.0.0.1:7450 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem

The coordinator says what is to be done; credentials of both stores come from this machine's environment. Directories
must be the same ones here, under the same paths, such as those of a shared filesystem.
Exit codes: 0 the job's ranges are all finished, 6 a store cannot be reached, 10 the coordinator cannot be reached or
refuses, 17 this machine comes to another job, 18 ended by a signal.";

/// `farshore sync-worker`.
#[derive(Debug, Args)]
#[command(after_help = WORKER_EXAMPLES)]
pub(crate) struct SyncWorkerArgs {
    /// The coordinator: HOST:PORT, http://HOST:PORT or https://HOST:PORT
    #[arg(value_name = "ADDR")]
    pub(super) address: String,
    /// The profile of ~/.aws/credentials for the source; else as `farshore sync` says
    #[arg(long, value_name = "NAME")]
    pub(super) source_profile: Option<String>,
    /// The profile for the target
    #[arg(long, value_name = "NAME")]
    pub(super) target_profile: Option<String>,
    /// Ranges of keys that are listed and compared at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) workers: u16,
    /// A file with the coordinator's secret
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// For how long a coordinator that does not answer is waited for
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub(super) reconnect: Duration,
    /// Serve numbers for Prometheus at this address, such as 127.0.0.1:9450
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<String>,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// `farshore check`.
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct CheckArgs {
    /// Where the objects are, in the forms that `farshore sync` takes; with --manifest, the one side that is checked
    #[arg(value_name = "SRC")]
    pub(super) source: String,
    /// What is compared with it
    #[arg(value_name = "DST")]
    pub(super) target: Option<String>,
    /// Read every object of one side and compare it with what this manifest says of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "times", "size_only", "attributes", "write_manifest"])]
    pub(super) manifest: Option<PathBuf>,
    /// Write what DST has and is equal to this file, as `farshore sync --manifest` does
    #[arg(long, value_name = "FILE")]
    pub(super) write_manifest: Option<PathBuf>,
    /// Read each object of DST for the BLAKE3 in the manifest that is written
    #[arg(long, requires = "write_manifest")]
    pub(super) manifest_read: bool,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    /// Print each difference and the summary as JSON, one a line
    #[arg(long)]
    pub(super) json: bool,
    /// Compare sizes and times, without looking at contents
    #[arg(long, conflicts_with = "size_only")]
    pub(super) times: bool,
    /// Compare sizes alone
    #[arg(long)]
    pub(super) size_only: bool,
    /// Times that are no further apart are equal
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration, requires = "times")]
    pub(super) time_tolerance: Duration,
    /// Compare modes, owners, times, extended attributes and hard links too, as far as both sides hold them
    #[arg(long)]
    pub(super) attributes: bool,
    /// Do not tell of objects that only DST has
    #[arg(long)]
    pub(super) one_way: bool,
    #[command(flatten)]
    pub(super) choose: ChooseArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    /// Write each difference to this file, as JSON, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// When two objects are equal.
#[derive(Debug, Args)]
#[command(next_help_heading = "Comparing (without any of these: by size and time)")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct CompareArgs {
    /// Compare sizes and checksums: those that both sides know, else both are read
    #[arg(long, conflicts_with_all = ["size_only", "force"])]
    pub(super) checksum: bool,
    /// Compare sizes alone
    #[arg(long, conflicts_with = "force")]
    pub(super) size_only: bool,
    /// Copy everything, equal or not
    #[arg(long)]
    pub(super) force: bool,
    /// Times that are no further apart are equal
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(super) time_tolerance: Duration,
    /// Look at the attributes of all that is equal, also where nothing says that they changed: a request for each object
    /// on a store of objects
    #[arg(long)]
    pub(super) attributes: bool,
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Writing")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct WriteArgs {
    /// Leave objects that are newer in DST
    #[arg(long)]
    pub(super) update: bool,
    /// Write only over objects that DST has
    #[arg(long, conflicts_with = "ignore_existing")]
    pub(super) existing: bool,
    /// Write only objects that DST does not have
    #[arg(long)]
    pub(super) ignore_existing: bool,
    /// Read each copy again and compare it with what was read from SRC
    #[arg(long)]
    pub(super) verify: bool,
    /// The storage class or access tier of what is written; without it that of SRC, in the words of DST's cloud
    #[arg(long, value_name = "NAME")]
    pub(super) storage_class: Option<String>,
    /// Between S3 and S3: keep what owners granted to others in access lists too, which costs a request for each object
    /// that is copied; users of one server mean nothing on another, so that there only groups, such as everybody, are kept
    #[arg(long)]
    pub(super) keep_acl: bool,
    /// Copy through this machine where the store could copy by itself
    #[arg(long)]
    pub(super) no_server_side: bool,
    /// Bring what would be overwritten or deleted to this place first, under its key: another directory, prefix or
    /// directory of a volume of the same store as DST, which is made if it is not there. What lies there is never
    /// overwritten. Within DST only with `--exclude '/PLACE/**'`
    #[arg(long, value_name = "PLACE", conflicts_with = "watch")]
    pub(super) backup_dir: Option<String>,
    /// Add this to each key there, such as .2026-11-24
    #[arg(long, value_name = "SUFFIX", requires = "backup_dir", default_value = "", hide_default_value = true)]
    pub(super) backup_suffix: String,
    /// Make no objects for directories: they come from what is in them
    #[arg(long)]
    pub(super) no_directories: bool,
    /// When what is written to a local DST survives a power cut
    #[arg(long, value_enum, value_name = "WHEN", default_value = "each")]
    pub(super) fsync: FsyncArg,
}

/// When files are synced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FsyncArg {
    /// Each file, before it gets its name
    Each,
    /// All of them, each time before the journal calls them done, or at the end without one
    Batch,
}

/// What is deleted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deleting (last, and only after both sides were listed whole and without error)")]
pub(crate) struct DeleteArgs {
    /// Delete from DST what SRC does not have
    #[arg(long)]
    pub(super) delete: bool,
    /// Delete nothing at all if more than N objects, or P% of those in DST, would go
    #[arg(long, value_name = "N|P%", value_parser = parse_max_delete, requires = "delete")]
    pub(super) max_delete: Option<MaxDelete>,
    /// Let an empty SRC delete everything in DST
    #[arg(long, requires = "delete")]
    pub(super) allow_empty_source_to_delete_everything: bool,
    /// Delete nothing if an object could not be copied
    #[arg(long, requires = "delete")]
    pub(super) delete_only_if_all_copied: bool,
}

/// Which objects.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choosing (what is left out is neither copied nor deleted)")]
pub(crate) struct ChooseArgs {
    /// Leave out what matches a pattern, such as *.tmp, /cache/** or {a,b}/*.log; one that begins with a slash starts at
    /// the root, * matches no slash
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// Of what is not excluded, choose only what matches one of these
    #[arg(long, value_name = "PATTERN")]
    pub(super) include: Vec<String>,
    /// "+ PATTERN" or "- PATTERN": the first that matches decides, before --exclude and --include
    #[arg(long, value_name = "RULE", value_parser = parse_rule, allow_hyphen_values = true)]
    pub(super) filter: Vec<Rule>,
    /// Leave out what the lines of this file say, in gitignore's manner
    #[arg(long, value_name = "FILE")]
    pub(super) ignore_file: Option<PathBuf>,
    /// Only the keys in this file, one a line, as they are printed
    #[arg(long, value_name = "FILE", conflicts_with = "retry_report")]
    pub(super) files_from: Option<PathBuf>,
    /// Only the keys that failed in an earlier --report
    #[arg(long, value_name = "FILE")]
    pub(super) retry_report: Option<PathBuf>,
    /// No smaller objects
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) min_size: Option<u64>,
    /// No larger objects
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_size: Option<u64>,
    /// Only objects that were written this long ago or earlier
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) min_age: Option<Duration>,
    /// Only objects that were written this long ago or later
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) max_age: Option<Duration>,
    /// Only part I of N, from 0 on: the same keys at each run, so that N machines share a job
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub(super) shard: Option<Shard>,
    /// The first key, in the order of bytes; keys are written as they are printed, %25 for %
    #[arg(long, value_name = "KEY")]
    pub(super) start: Option<Key>,
    /// The key before which to stop
    #[arg(long, value_name = "KEY")]
    pub(super) end: Option<Key>,
}

/// How much at once. A limit that names no side is that of each.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits, a second and for each side")]
pub(crate) struct LimitArgs {
    /// Bytes a second, or as much from a time on, by the clock of this machine, until the next:
    /// "08:00,512k 19:00,10M 23:00,off", or "Mon-08:00,1M Fri-20:00,off"
    #[arg(long, value_name = "SIZE", value_parser = parse_bandwidth)]
    pub(super) bandwidth: Option<Schedule>,
    /// Bytes a second from SRC
    #[arg(long, value_name = "SIZE", value_parser = parse_bandwidth)]
    pub(super) source_bandwidth: Option<Schedule>,
    /// Bytes a second to DST
    #[arg(long, value_name = "SIZE", value_parser = parse_bandwidth)]
    pub(super) target_bandwidth: Option<Schedule>,
    /// Requests a second, in the same forms
    #[arg(long, value_name = "N", value_parser = parse_requests)]
    pub(super) requests: Option<Schedule>,
    /// Requests a second to SRC
    #[arg(long, value_name = "N", value_parser = parse_requests)]
    pub(super) source_requests: Option<Schedule>,
    /// Requests a second to DST
    #[arg(long, value_name = "N", value_parser = parse_requests)]
    pub(super) target_requests: Option<Schedule>,
    /// The most requests at once; how many are best is found by trying
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) concurrency: u16,
    /// Ranges of keys that are listed and compared at once; none only with --coordinator
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(..=256))]
    pub(super) workers: u16,
}

/// What is left behind for scripts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reporting and resuming")]
pub(crate) struct ReportArgs {
    /// Write what came of each object to this file, as JSON, one a line; equal objects are counted, not told
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// When all is done, write to this file what DST has: key, size and BLAKE3 of each object, as JSON, one a line, for
    /// `farshore check --manifest`. Where the bytes did not pass by (the object was equal, or the store copied it by
    /// itself) the BLAKE3 is said to be unknown
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "watch"])]
    pub(super) manifest: Option<PathBuf>,
    /// Read such objects in DST for their BLAKE3
    #[arg(long, requires = "manifest")]
    pub(super) manifest_read: bool,
    /// Keep the journal at META instead of in the user's state directory: a directory, embedded:///path or fdb://…
    #[arg(long, value_name = "META", conflicts_with = "no_journal")]
    pub(super) journal: Option<String>,
    /// Keep no journal: a killed job begins anew
    #[arg(long)]
    pub(super) no_journal: bool,
    /// Serve numbers for Prometheus at this address, such as 127.0.0.1:9450
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<String>,
}

impl ChooseArgs {
    /// The files that say what is chosen, by the option that names each.
    pub(super) fn files(&mut self) -> [(&'static str, &mut Option<PathBuf>); 3] {
        [
            ("ignore-file", &mut self.ignore_file),
            ("files-from", &mut self.files_from),
            ("retry-report", &mut self.retry_report),
        ]
    }
}

fn parse_bandwidth(text: &str) -> Result<Schedule, String> {
    Schedule::parse(text, parse_size)
}

fn parse_requests(text: &str) -> Result<Schedule, String> {
    let number = |text: &str| text.parse::<NonZeroU32>().map(|number| number.get().into());
    Schedule::parse(text, |text| number(text).map_err(|_| format!("{text:?} is no number of requests, from 1 on")))
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let lease = parse_duration(text)?;
    let sensible = Duration::from_millis(500)..=Duration::from_hours(1);
    if sensible.contains(&lease) { Ok(lease) } else { Err("a lease is of 500ms to 1h".to_owned()) }
}

fn parse_max_delete(text: &str) -> Result<MaxDelete, String> {
    let wrong = || format!("{text:?} is neither a number of objects nor a percentage from 0% to 100%");
    let Some(percent) = text.strip_suffix('%') else {
        return text.parse().map(MaxDelete::Count).map_err(|_| wrong());
    };
    match percent.parse() {
        Ok(percent @ 0..=100) => Ok(MaxDelete::Percent(percent)),
        _ => Err(wrong()),
    }
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    match text.split_once(' ') {
        Some(("+", pattern)) => Ok(Rule::Include(pattern.to_owned())),
        Some(("-", pattern)) => Ok(Rule::Exclude(pattern.to_owned())),
        _ => Err(format!("{text:?} is no rule, such as \"+ /keep/**\" or \"- *.tmp\"")),
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match numbers {
        Some((index, count)) if index < count => Ok(Shard { index, count }),
        _ => Err(format!("{text:?} is not a part of some, such as 0/4 to 3/4")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_deletions_are_a_number_or_a_percentage() {
        assert_eq!(parse_max_delete("100"), Ok(MaxDelete::Count(100)));
        assert_eq!(parse_max_delete("5%"), Ok(MaxDelete::Percent(5)));
        for wrong in ["", "%", "-1", "101%", "some", "5 %"] {
            assert!(parse_max_delete(wrong).is_err(), "{wrong:?}");
        }
    }
}
