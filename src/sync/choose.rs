//! From the command line to a filter: patterns, lists of keys, sizes, ages, shards.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use farshore_sync::{Filter, FilterSpec, Key, Rule, Timestamp};
use serde::Deserialize;

use super::args::ChooseArgs;
use crate::exit::{Exit, Failure};

/// What a line of a report tells of a key.
#[derive(Debug, Deserialize)]
struct Reported {
    key: String,
    outcome: String,
}

/// The filter that was asked for; ages are counted from now.
pub(super) fn filter(args: &ChooseArgs, now: SystemTime) -> Result<Filter> {
    let only = match (&args.files_from, &args.retry_report) {
        (Some(file), _) => Some(keys_of(file, |line| Ok(Some(line.to_owned())))?),
        (_, Some(report)) => Some(keys_of(report, failed_of)?),
        _ => None,
    };
    let ignore = args.ignore_file.as_deref().map(lines_of).transpose()?.unwrap_or_default();
    let spec = FilterSpec {
        rules: rules(args),
        ignore,
        only,
        min_bytes: args.min_size,
        max_bytes: args.max_size,
        modified_from: args.max_age.map(|age| ago(now, age)),
        modified_to: args.min_age.map(|age| ago(now, age)),
        shard: args.shard,
    };
    Filter::new(spec).map_err(|error| Failure::error(Exit::Usage, error.to_string()))
}

/// Whether the choice depends on when it is made, so that a later run of the same command makes another.
pub(super) fn is_of_the_moment(args: &ChooseArgs) -> bool {
    args.min_age.is_some() || args.max_age.is_some()
}

/// The rules in order: those that were given in order, then what is excluded, then what is included and nothing else.
pub(super) fn rules(args: &ChooseArgs) -> Vec<Rule> {
    let excluded = args.exclude.iter().cloned().map(Rule::Exclude);
    let included = args.include.iter().cloned().map(Rule::Include);
    let others = (!args.include.is_empty()).then(|| Rule::Exclude("**".to_owned()));
    args.filter.iter().cloned().chain(excluded).chain(included).chain(others).collect()
}

fn ago(now: SystemTime, age: Duration) -> Timestamp {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(since.as_nanos() as i128 - age.as_nanos() as i128)
}

/// The keys that the lines of a file name.
fn keys_of(file: &Path, key_of: impl Fn(&str) -> Result<Option<String>>) -> Result<BTreeSet<Key>> {
    let mut keys = BTreeSet::new();
    for (number, line) in lines_of(file)?.iter().enumerate() {
        let wrong = |reason: String| {
            Failure::error(Exit::Usage, format!("line {} of {}: {reason}", number + 1, file.display()))
        };
        let Some(printed) = key_of(line).map_err(|error| wrong(error.to_string()))? else { continue };
        if !printed.is_empty() {
            keys.insert(printed.parse().map_err(|error: farshore_sync::KeyError| wrong(error.to_string()))?);
        }
    }
    Ok(keys)
}

/// The key of a report's line, if it failed.
fn failed_of(line: &str) -> Result<Option<String>> {
    let line: Reported = serde_json::from_str(line).context("it is no line of a report")?;
    Ok((line.outcome == "failed").then_some(line.key))
}

fn lines_of(file: &Path) -> Result<Vec<String>> {
    let cannot =
        |error: &std::io::Error| Failure::error(Exit::Usage, format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(|error| cannot(&error))?;
    BufReader::new(opened).lines().collect::<std::io::Result<_>>().map_err(|error| cannot(&error))
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn takes(args: &[&str], key: &str) -> bool {
        let command = ChooseArgs::augment_args(clap::Command::new("choose"));
        let matches = command.get_matches_from(["choose"].iter().chain(args));
        let args = ChooseArgs::from_arg_matches(&matches).unwrap();
        filter(&args, SystemTime::now()).unwrap().takes_key(&Key::try_from(key).unwrap())
    }

    #[test]
    fn what_is_excluded_is_out_and_with_includes_nothing_else_is_in() {
        let both = ["--include", "*.jpg", "--exclude", "thumb*"];
        assert!(takes(&both, "a/b.jpg") && !takes(&both, "a/thumb.jpg") && !takes(&both, "a/b.png"));
        assert!(takes(&["--exclude", "*.tmp"], "a") && !takes(&["--exclude", "*.tmp"], "d/a.tmp"));
        let ordered = ["--filter", "+ /keep/**", "--filter", "- **"];
        assert!(takes(&ordered, "keep/a") && !takes(&ordered, "a"));
    }

    #[test]
    fn a_report_is_read_for_what_failed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = "{\"key\":\"a%0Ab\",\"outcome\":\"failed\"}\n{\"key\":\"c\",\"outcome\":\"copied\"}\n";
        std::fs::write(file.path(), lines).unwrap();
        let retry = ["--retry-report", file.path().to_str().unwrap()];
        assert!(takes(&retry, "a\nb") && !takes(&retry, "c"));
    }
}
