//! Which keys a job is about, beside its range. Pure: what is chosen follows from a key and its entries alone.
//!
//! A pair is chosen or not as a whole: what filters leave out is neither copied nor deleted.

mod glob;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use self::glob::Glob;
use self::rules::Rules;
use crate::entry::Entry;
use crate::key::Key;
use crate::key_range::KeyRange;
use crate::selection::Selection;
use crate::timestamp::Timestamp;

/// What is chosen, as a person says it. Plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterSpec {
    /// Rules in rclone's manner: the first that matches decides; with at least one `Include` and no match, out.
    pub rules: Vec<Rule>,
    /// Lines of a file in gitignore's manner: the last that matches decides.
    pub ignore: Vec<String>,
    /// Only these keys.
    pub only: Option<BTreeSet<Key>>,
    /// No smaller objects, in bytes.
    pub min_bytes: Option<u64>,
    /// No larger objects, in bytes.
    pub max_bytes: Option<u64>,
    /// Nothing written before.
    pub modified_from: Option<Timestamp>,
    /// Nothing written after.
    pub modified_to: Option<Timestamp>,
    /// Only one of several parts of all keys.
    pub shard: Option<Shard>,
}

/// A rule in rclone's manner. A pattern that begins with a slash starts at the root, any other after any slash; `*`
/// and `?` match no slash, `**` does; `[a-z]` and `{one,two}` are known; one that ends with a slash is a directory and
/// all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// What matches is chosen.
    Include(String),
    /// What matches is left out.
    Exclude(String),
}

/// One of `count` parts that hold each key once: the same at each run and for each store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0 on.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
}

/// A specification that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// A pattern.
    #[error("the pattern {pattern:?} cannot be read: {reason}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard that is none of its count.
    #[error("shard {index}/{count}: the first number counts from 0 and is less than the second")]
    Shard {
        /// As it was given.
        index: u32,
        /// As it was given.
        count: u32,
    },
}

/// A specification that is ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    spec: Arc<FilterSpec>,
    rules: Arc<Rules>,
}

impl Filter {
    /// Chooses everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads the patterns.
    pub fn new(spec: FilterSpec) -> Result<Self, FilterError> {
        if let Some(Shard { index, count }) = spec.shard.filter(|shard| shard.index >= shard.count) {
            return Err(FilterError::Shard { index, count });
        }
        let rules = Rules::new(&spec)?;
        Ok(Self { spec: Arc::new(spec), rules: Arc::new(rules) })
    }

    /// What it was made of.
    pub fn spec(&self) -> &FilterSpec {
        &self.spec
    }

    /// Whether a key is chosen, whatever is there.
    pub fn takes_key(&self, key: &Key) -> bool {
        let spec = &self.spec;
        spec.only.as_ref().is_none_or(|only| only.contains(key))
            && spec.shard.is_none_or(|shard| shard.has(key))
            && self.rules.take(key.as_bytes())
    }

    /// Where all keys lie that can be chosen; none if that may be anywhere.
    pub(crate) fn selection(&self) -> Option<Selection> {
        let Some(only) = &self.spec.only else { return self.rules.selection() };
        let mut selection = Selection::default();
        for key in only {
            selection.add_key(key.as_bytes());
        }
        Some(selection)
    }

    /// Whether it may leave out a directory as a whole.
    pub(crate) fn leaves_out_directories(&self) -> bool {
        self.rules.leave_out_directories()
    }

    /// The first place behind a directory that is left out as a whole, if the key lies in one.
    pub(crate) fn place_behind_left_out(&self, key: &Key) -> Option<Bytes> {
        let directory = self.rules.left_out_directory(key.as_bytes())?;
        KeyRange::of_prefix(directory).end().cloned()
    }

    /// Whether what is there is chosen: by the source's entry where there is one, else by the target's.
    pub fn takes(&self, source: Option<&Entry>, target: Option<&Entry>) -> bool {
        source.or(target).is_none_or(|entry| self.takes_key(&entry.key) && self.takes_size_and_time(entry))
    }

    fn takes_size_and_time(&self, entry: &Entry) -> bool {
        let spec = &self.spec;
        let is_object = entry.kind == crate::entry::Kind::Object;
        let size =
            spec.min_bytes.is_none_or(|min| entry.size >= min) && spec.max_bytes.is_none_or(|max| entry.size <= max);
        // What has no known time is neither too old nor too new.
        let time = entry.modified.is_none_or(|modified| {
            spec.modified_from.is_none_or(|from| modified >= from) && spec.modified_to.is_none_or(|to| modified <= to)
        });
        !is_object || (size && time)
    }
}

impl Shard {
    fn has(self, key: &Key) -> bool {
        let hash = blake3::hash(key.as_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
        u64::from_be_bytes(*first) % u64::from(self.count) == u64::from(self.index)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for Filter {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::try_from(text).unwrap()
    }

    fn filter(change: impl FnOnce(&mut FilterSpec)) -> Filter {
        let mut spec = FilterSpec::default();
        change(&mut spec);
        Filter::new(spec).unwrap()
    }

    #[test]
    fn sizes_and_times_are_those_of_the_source() {
        let filter = filter(|spec| {
            spec.min_bytes = Some(10);
            spec.modified_from = Some(Timestamp::new(100, 0));
        });
        let entry =
            |size, seconds| Entry { modified: Some(Timestamp::new(seconds, 0)), ..Entry::object(key("k"), size) };
        assert!(filter.takes(Some(&entry(10, 100)), None));
        assert!(
            !filter.takes(Some(&entry(9, 100)), Some(&entry(99, 100))),
            "left out, although the target has a larger one"
        );
        assert!(!filter.takes(Some(&entry(10, 99)), None));
        assert!(!filter.takes(None, Some(&entry(9, 100))));
    }

    #[test]
    fn only_the_listed_keys_are_taken() {
        let filter = filter(|spec| spec.only = Some([key("a/b")].into()));
        assert!(filter.takes_key(&key("a/b")) && !filter.takes_key(&key("a/bc")));
        let wrong = FilterSpec { shard: Some(Shard { index: 2, count: 2 }), ..FilterSpec::default() };
        assert!(Filter::new(wrong).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_not_listed_is_not_chosen(
            rules in prop::collection::vec((any::<bool>(), r"/?[ab]{0,2}(/|\*|\*\*|/\*\*|\?b|\\\*|\{a,b\}|\[ab\])?[ab]{0,1}/?"), 0..5),
            ignore in prop::collection::vec("!?/?[ab*]{1,2}/?", 0..3),
            keys in prop::collection::vec("[ab*]{1,2}(/[ab*]{0,2}){0,3}", 1..20),
        ) {
            let rule = |(takes, pattern)| if takes { Rule::Include(pattern) } else { Rule::Exclude(pattern) };
            let filter = filter(|spec| (spec.rules, spec.ignore) = (rules.into_iter().map(rule).collect(), ignore));
            let keys: Vec<_> = keys.iter().map(|text| key(text)).collect();
            let chosen = |one: &&Key| filter.takes_key(one);
            if let Some(selection) = filter.selection() {
                let outside = keys.iter().filter(chosen).find(|key| !selection.contains(key.as_bytes()));
                prop_assert_eq!(outside, None, "{:?} of {:?}", &selection, filter.spec());
            }
            for one in &keys {
                let Some(behind) = filter.place_behind_left_out(one) else { continue };
                prop_assert!(filter.leaves_out_directories());
                let passed = |key: &&Key| key >= &one && key.as_bytes() < &behind[..];
                let lost = keys.iter().filter(passed).find(chosen);
                prop_assert_eq!(lost, None, "{} by {:?}", one, filter.spec());
            }
        }
    }

    #[test]
    fn what_can_be_chosen_is_told_from_the_rules() {
        let include = |pattern: &str| Rule::Include(pattern.to_owned());
        let exclude = |pattern: &str| Rule::Exclude(pattern.to_owned());
        let selection = |rules: Vec<Rule>| filter(|spec| spec.rules = rules).selection();
        let of = |keys: &[&str], prefixes: &[&str]| {
            let mut selection = Selection::default();
            for key in keys {
                selection.add_key(key.as_bytes());
            }
            for prefix in prefixes {
                selection.add_prefix(prefix.as_bytes().to_vec());
            }
            Some(selection)
        };
        assert_eq!(selection(vec![include("/a/"), include("/b/*.jpg"), include(r"/c\*")]), of(&["c*"], &["a/", "b/"]));
        assert_eq!(selection(vec![include("/a"), exclude("**"), include("b")]), of(&["a"], &[]));
        assert_eq!(selection(vec![include("*.jpg")]), None, "they may be anywhere");
        assert_eq!(selection(vec![include("/a"), exclude("/b")]), None, "all else is chosen too");
        let filter = filter(|spec| spec.rules = vec![include("/tmp/keep/"), exclude("tmp/**")]);
        let behind = |text: &str| filter.place_behind_left_out(&key(text)).map(|place| place.to_vec());
        assert_eq!(behind("a/tmp/b/c"), Some(b"a/tmp0".to_vec()));
        assert_eq!(behind("tmp/b/c"), Some(b"tmp/b0".to_vec()), "beside what is kept");
        assert_eq!(behind("tmp/keep/c"), None);
    }

    proptest! {
        #[test]
        fn shards_hold_each_key_once(text in "[a-z/]{1,12}", count in 1_u32..20) {
            let key = key(&text);
            let holders = (0..count).filter(|index| {
                filter(|spec| spec.shard = Some(Shard { index: *index, count })).takes_key(&key)
            });
            prop_assert_eq!(holders.count(), 1);
        }
    }
}
