//! Rules in rclone's manner and in gitignore's: which of them decides about a key.

use super::{FilterError, FilterSpec, Glob, Rule};

/// Both kinds of rules; a key has to pass both.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Whether what matches is chosen; the first that matches decides.
    ordered: Vec<(bool, Glob)>,
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

/// A line in gitignore's manner.
#[derive(Debug, Clone)]
struct Ignore {
    ignores: bool,
    only_directories: bool,
    glob: Glob,
}

impl Rules {
    pub(super) fn new(spec: &FilterSpec) -> Result<Self, FilterError> {
        let ordered = spec.rules.iter().map(ordered).collect::<Result<Vec<_>, _>>()?;
        let excludes = spec.rules.iter().any(|rule| matches!(rule, Rule::Exclude(_)));
        let otherwise = if ordered.is_empty() || excludes { Otherwise::Take } else { Otherwise::Leave };
        let ignore = spec.ignore.iter().filter_map(|line| ignore(line).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { ordered, otherwise, ignore })
    }

    pub(super) fn take(&self, key: &[u8]) -> bool {
        let first = self.ordered.iter().find(|(_, glob)| glob.matches(key));
        let chosen = first.map_or(self.otherwise == Otherwise::Take, |(take, _)| *take);
        chosen && !self.ignores(key)
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

fn ordered(rule: &Rule) -> Result<(bool, Glob), FilterError> {
    let (take, pattern) = match rule {
        Rule::Include(pattern) => (true, pattern),
        Rule::Exclude(pattern) => (false, pattern),
    };
    let (before, anchored) = pattern.strip_prefix('/').map_or(("(?:.*/)?", pattern.as_str()), |rest| ("", rest));
    let (body, after) = anchored.strip_suffix('/').map_or((anchored, ""), |directory| (directory, "/.*"));
    Ok((take, Glob::new(before, body, after)?))
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
