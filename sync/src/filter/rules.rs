//! Rules in rclone's manner and in gitignore's: which of them decides about a key.

use super::glob::{Literal, literal};
use super::{FilterError, FilterSpec, Glob, Rule};
use crate::selection::Selection;

/// Both kinds of rules; a key has to pass both.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// The first that matches decides.
    ordered: Vec<Ordered>,
    /// Whether a key that no ordered rule matches is chosen.
    otherwise: Otherwise,
    /// Whether what matches is ignored; the last that matches decides.
    ignore: Vec<Ignore>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Otherwise {
    #[default]
    Take,
    Leave,
}

/// A rule in rclone's manner.
#[derive(Debug, Clone)]
struct Ordered {
    /// Whether what matches is chosen.
    takes: bool,
    glob: Glob,
    /// What the keys that match begin with; none if they may begin with anything.
    literal: Option<Literal>,
    /// Whether every key matches.
    matches_all: bool,
}

/// A line in gitignore's manner.
#[derive(Debug, Clone)]
struct Ignore {
    ignores: bool,
    only_directories: bool,
    glob: Glob,
}

impl Rules {
    pub(super) fn new(spec: &FilterSpec) -> Result<Self, FilterError> {
        let ordered = spec.rules.iter().map(Ordered::new).collect::<Result<Vec<_>, _>>()?;
        let excludes = spec.rules.iter().any(|rule| matches!(rule, Rule::Exclude(_)));
        let otherwise = if ordered.is_empty() || excludes { Otherwise::Take } else { Otherwise::Leave };
        let ignore = spec.ignore.iter().filter_map(|line| ignore(line).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { ordered, otherwise, ignore })
    }

    pub(super) fn take(&self, key: &[u8]) -> bool {
        let first = self.ordered.iter().find(|rule| rule.glob.matches(key));
        let chosen = first.map_or(self.otherwise == Otherwise::Take, |rule| rule.takes);
        chosen && !self.ignores(key)
    }

    /// Where all keys lie that ordered rules can choose; none if that may be anywhere.
    pub(super) fn selection(&self) -> Option<Selection> {
        let nothing_else = self.ordered.iter().position(|rule| !rule.takes && rule.matches_all);
        if nothing_else.is_none() && self.otherwise == Otherwise::Take {
            return None;
        }
        let mut selection = Selection::default();
        let before = &self.ordered[..nothing_else.unwrap_or(self.ordered.len())];
        for rule in before.iter().filter(|rule| rule.takes) {
            match rule.literal.as_ref()? {
                Literal::Whole(key) => selection.add_key(key),
                Literal::Beginning(prefix) if prefix.is_empty() => return None,
                Literal::Beginning(prefix) => selection.add_prefix(prefix.clone()),
            }
        }
        Some(selection)
    }

    /// Whether a rule may leave out a directory as a whole.
    pub(super) fn leave_out_directories(&self) -> bool {
        !self.ignore.is_empty() || self.ordered.iter().any(|rule| !rule.takes && rule.glob.is_endless())
    }

    /// The outermost directory above a key, or the key itself if it is one, of which nothing is chosen.
    pub(super) fn left_out_directory<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes.map(|at| &key[..=at]).find(|directory| self.leaves_all_of(directory))
    }

    fn leaves_all_of(&self, directory: &[u8]) -> bool {
        let decides = |rule: &&Ordered| {
            if rule.takes {
                rule.may_match_below(directory)
            } else {
                rule.glob.is_endless() && rule.glob.matches(directory)
            }
        };
        let chosen = self.ordered.iter().find(decides).is_none_or(|rule| rule.takes);
        !chosen || self.ignores_path(&directory[..directory.len() - 1], true)
    }

    /// Whether a directory above the key, or the key itself, is ignored; below an ignored directory nothing comes
    /// back.
    fn ignores(&self, key: &[u8]) -> bool {
        if self.ignore.is_empty() {
            return false;
        }
        let above = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| (&key[..at], true));
        let itself = (!key.ends_with(b"/")).then_some((key, false));
        above.chain(itself).any(|(path, is_directory)| self.ignores_path(path, is_directory))
    }

    fn ignores_path(&self, path: &[u8], is_directory: bool) -> bool {
        let decides = |line: &&Ignore| (is_directory || !line.only_directories) && line.glob.matches(path);
        self.ignore.iter().rev().find(decides).is_some_and(|line| line.ignores)
    }
}

impl Ordered {
    fn new(rule: &Rule) -> Result<Self, FilterError> {
        let (takes, pattern) = match rule {
            Rule::Include(pattern) => (true, pattern),
            Rule::Exclude(pattern) => (false, pattern),
        };
        let rooted = pattern.strip_prefix('/');
        let before = if rooted.is_some() { "" } else { "(?:.*/)?" };
        let anchored = rooted.unwrap_or(pattern);
        let (body, after) = anchored.strip_suffix('/').map_or((anchored, ""), |directory| (directory, "/.*"));
        let literal = rooted.map(|_| match literal(body) {
            Literal::Whole(directory) if !after.is_empty() => Literal::Beginning([directory.as_slice(), b"/"].concat()),
            other => other,
        });
        let glob = Glob::new(before, body, after)?;
        let matches_all = (glob.is_endless() && glob.matches(b"")) || pattern == "*";
        Ok(Self { takes, glob, literal, matches_all })
    }

    /// Whether a key that begins with a directory may match, as far as is known.
    fn may_match_below(&self, directory: &[u8]) -> bool {
        match &self.literal {
            None => true,
            Some(Literal::Whole(key)) => key.starts_with(directory),
            Some(Literal::Beginning(prefix)) => prefix.starts_with(directory) || directory.starts_with(prefix),
        }
    }
}

/// A line; none if it is empty or a comment.
fn ignore(line: &str) -> Result<Option<Ignore>, FilterError> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let escaped_space = line.trim_end_matches(' ').ends_with('\\');
    let line = if escaped_space { line } else { line.trim_end_matches(' ') };
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (ignores, line) = line.strip_prefix('!').map_or((true, line), |rest| (false, rest));
    let (only_directories, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
    let anchored = line.contains('/');
    let body = line.strip_prefix('/').unwrap_or(line);
    let glob = Glob::new(if anchored { "" } else { "(?:.*/)?" }, body, "")?;
    Ok(Some(Ignore { ignores, only_directories, glob }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[(char, &str)], ignore: &[&str]) -> Rules {
        let rule = |(sign, pattern): &(char, &str)| {
            let pattern = (*pattern).to_owned();
            if *sign == '+' { Rule::Include(pattern) } else { Rule::Exclude(pattern) }
        };
        let ignore = ignore.iter().map(ToString::to_string).collect();
        Rules::new(&FilterSpec { rules: rules.iter().map(rule).collect(), ignore, ..FilterSpec::default() }).unwrap()
    }

    fn taken<'a>(rules: &Rules, keys: &[&'a str]) -> Vec<&'a str> {
        keys.iter().filter(|key| rules.take(key.as_bytes())).copied().collect()
    }

    #[test]
    fn the_first_ordered_rule_decides() {
        let all = ["a.jpg", "dir/b.jpg", "dir/c.txt", "secret/d.jpg", "dir/secret/e.jpg"];
        assert_eq!(
            taken(&rules(&[('+', "*.jpg")], &[]), &all),
            ["a.jpg", "dir/b.jpg", "secret/d.jpg", "dir/secret/e.jpg"]
        );
        assert_eq!(taken(&rules(&[('-', "secret/")], &[]), &all), ["a.jpg", "dir/b.jpg", "dir/c.txt"]);
        assert_eq!(
            taken(&rules(&[('-', "/secret/"), ('+', "*.jpg"), ('-', "*")], &[]), &all),
            ["a.jpg", "dir/b.jpg", "dir/secret/e.jpg"]
        );
        assert_eq!(
            taken(&rules(&[('-', "/*.jpg")], &[]), &all),
            ["dir/b.jpg", "dir/c.txt", "secret/d.jpg", "dir/secret/e.jpg"]
        );
        assert_eq!(taken(&rules(&[('+', "/dir/**")], &[]), &all), ["dir/b.jpg", "dir/c.txt", "dir/secret/e.jpg"]);
        assert_eq!(taken(&rules(&[], &[]), &all), all);
    }

    #[test]
    fn the_last_ignoring_line_decides_and_directories_are_final() {
        let all = ["a.log", "keep.log", "build/x", "src/build", "src/a.log", "doc/build/y", "doc/"];
        assert_eq!(
            taken(&rules(&[], &["*.log", "!keep.log"]), &all),
            ["keep.log", "build/x", "src/build", "doc/build/y", "doc/"]
        );
        assert_eq!(taken(&rules(&[], &["build/"]), &all), ["a.log", "keep.log", "src/build", "src/a.log", "doc/"]);
        assert_eq!(
            taken(&rules(&[], &["/build", "!build/x"]), &all),
            ["a.log", "keep.log", "src/build", "src/a.log", "doc/build/y", "doc/"]
        );
        assert_eq!(
            taken(&rules(&[], &["doc/**/y", "# comment", "", "src/*.log"]), &all),
            ["a.log", "keep.log", "build/x", "src/build", "doc/"]
        );
        assert_eq!(taken(&rules(&[], &["doc/"]), &all), ["a.log", "keep.log", "build/x", "src/build", "src/a.log"]);
    }
}
