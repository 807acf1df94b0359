//! From the command line to a job's options.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use chrono::{Datelike, Local, Timelike};
use farshore_sync::manifest::{Header, ManifestOptions};
use farshore_sync::{
    Amounts, AttributeSet, Compare, CompareAttributes, ComparePolicy, CopyOptions, DeletionPolicy, Directories,
    JobOptions, KeyRange, PaceLimits, Rates, Schedule, Verify, WeekMinute, Write,
};

use super::args::{CheckArgs, ChooseArgs, DeleteArgs, LimitArgs, SyncArgs};
use super::choose;

/// What `farshore sync` is to do, with ages counted from a moment.
pub(super) fn of_sync(args: &SyncArgs, moment: SystemTime) -> Result<JobOptions> {
    let base = of_both(&args.choose, &args.limits, moment)?;
    let write = &args.write;
    let policy = ComparePolicy {
        by: match (args.compare.checksum, args.compare.size_only, args.compare.force) {
            (true, _, _) => Compare::Checksum,
            (_, true, _) => Compare::Size,
            (_, _, true) => Compare::Never,
            _ => Compare::SizeAndTime,
        },
        time_tolerance: args.compare.time_tolerance,
        write: match (write.existing, write.ignore_existing) {
            (true, _) => Write::Existing,
            (_, true) => Write::New,
            _ => Write::All,
        },
        keep_newer: write.update,
        delete: args.delete.delete,
        directories: if write.no_directories { Directories::Leave } else { Directories::Keep },
        attributes: if args.compare.attributes { CompareAttributes::All } else { CompareAttributes::Listed },
    };
    let copy = CopyOptions {
        verify: if write.verify { Verify::ReadBack } else { Verify::Reported },
        server_side: !write.no_server_side,
        storage_class: write.storage_class.clone(),
        keep: if write.keep_acl { AttributeSet::all() } else { base.copy.keep },
        ..base.copy
    };
    let manifest = args.report.manifest.as_ref().map(|_| ManifestOptions { reads: args.report.manifest_read });
    Ok(JobOptions { policy, copy, deletion: deletion(&args.delete), manifest, dry_run: args.dry_run, ..base })
}

/// What `farshore check` is to do: the plan of a job that is never carried out.
pub(super) fn of_check(args: &CheckArgs) -> Result<JobOptions> {
    let policy = ComparePolicy {
        by: match (args.size_only, args.times) {
            (true, _) => Compare::Size,
            (_, true) => Compare::SizeAndTime,
            _ => Compare::Checksum,
        },
        time_tolerance: args.time_tolerance,
        delete: !args.one_way,
        // A directory that comes from what is in it is there.
        directories: Directories::Leave,
        attributes: if args.attributes { CompareAttributes::All } else { CompareAttributes::Leave },
        ..ComparePolicy::default()
    };
    let manifest = args.write_manifest.as_ref().map(|_| ManifestOptions { reads: args.manifest_read });
    let base = of_both(&args.choose, &args.limits, SystemTime::now())?;
    Ok(JobOptions { policy, deletion: never_carried_out(), manifest, dry_run: true, ..base })
}

/// What `farshore check --manifest` is to do: the same, with a manifest for a source.
pub(super) fn of_audit(args: &CheckArgs, header: &Header) -> Result<JobOptions> {
    let policy = ComparePolicy {
        by: Compare::Recorded,
        delete: !args.one_way,
        directories: Directories::Leave,
        attributes: CompareAttributes::Leave,
        ..ComparePolicy::default()
    };
    let base = of_both(&args.choose, &args.limits, SystemTime::now())?;
    let range = base.range.intersect(&header.range);
    Ok(JobOptions { policy, deletion: never_carried_out(), range, dry_run: true, ..base })
}

fn never_carried_out() -> DeletionPolicy {
    DeletionPolicy { allow_empty_source: true, confirm: false, ..DeletionPolicy::default() }
}

fn of_both(choose: &ChooseArgs, limits: &LimitArgs, moment: SystemTime) -> Result<JobOptions> {
    let of_each = schedules(limits);
    Ok(JobOptions {
        filter: choose::filter(choose, moment)?,
        range: range(choose),
        source_pace: pace(limits, of_each.source_bytes.as_ref(), of_each.source_requests.as_ref()),
        target_pace: pace(limits, of_each.target_bytes.as_ref(), of_each.target_requests.as_ref()),
        workers: usize::from(limits.workers),
        seed: rand::random(),
        ..JobOptions::default()
    })
}

fn range(choose: &ChooseArgs) -> KeyRange {
    let start = choose.start.as_ref().map(farshore_sync::Key::to_bytes).unwrap_or_default();
    KeyRange::new(start, choose.end.as_ref().map(farshore_sync::Key::to_bytes))
}

/// The limits that stay; those that change with the time are given bit by bit.
fn pace(limits: &LimitArgs, bytes: Option<&Schedule>, requests: Option<&Schedule>) -> PaceLimits {
    PaceLimits {
        requests_per_second: requests
            .and_then(Schedule::constant)
            .and_then(|rate| NonZeroU32::new(u32::try_from(rate).ok()?)),
        bytes_per_second: bytes.and_then(Schedule::constant),
        most_at_once: usize::from(limits.concurrency),
    }
}

/// The limits of a job, by the clock of this machine.
pub(super) fn rates(limits: &LimitArgs) -> Rates {
    Rates::new(schedules(limits), Arc::new(week_minute))
}

/// A limit that names no side is that of each.
fn schedules(limits: &LimitArgs) -> Amounts<Option<Schedule>> {
    let or = |of_side: &Option<Schedule>, of_each: &Option<Schedule>| of_side.clone().or_else(|| of_each.clone());
    Amounts {
        source_bytes: or(&limits.source_bandwidth, &limits.bandwidth),
        target_bytes: or(&limits.target_bandwidth, &limits.bandwidth),
        source_requests: or(&limits.source_requests, &limits.requests),
        target_requests: or(&limits.target_requests, &limits.requests),
    }
}

fn week_minute() -> WeekMinute {
    let now = Local::now();
    let minute = WeekMinute::new(now.weekday().num_days_from_monday(), now.hour(), now.minute());
    minute.expect("a clock shows a minute of a week")
}

fn deletion(args: &DeleteArgs) -> DeletionPolicy {
    DeletionPolicy {
        allow_empty_source: args.allow_empty_source_to_delete_everything,
        max: args.max_delete,
        only_if_all_copied: args.delete_only_if_all_copied,
        ..DeletionPolicy::default()
    }
}
