//! The next names of a directory, in order, within a fixed number: what a walk keeps of a directory however large it
//! is. A directory's name has a slash at its end here, so that the order of names is the order of keys.

/// Names in one buffer, so that a name costs its bytes and eight more.
#[derive(Debug, Default)]
pub(in crate::store) struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u16)>,
}

/// Picks the smallest names of a directory that are not below `from`, at most `most`.
#[derive(Debug)]
pub(in crate::store) struct Picker {
    names: Names,
    from: Vec<u8>,
    most: usize,
    /// Once names were dropped, those from this one on are not taken: they come in a later pass.
    ceiling: Option<Vec<u8>>,
}

/// The names picked, in ascending order, and whether there are no more after them.
#[derive(Debug)]
pub(in crate::store) struct Picked {
    pub(in crate::store) names: Names,
    pub(in crate::store) complete: bool,
}

impl Names {
    pub(in crate::store) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(in crate::store) fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans.get(index).map(|span| of(&self.bytes, *span))
    }

    /// How many of the sorted names come before the first of which this does not hold.
    pub(in crate::store) fn count_while(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        self.spans.partition_point(|span| holds(of(&self.bytes, *span)))
    }

    fn push(&mut self, name: &[u8], directory: bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        if directory {
            self.bytes.push(b'/');
        }
        self.spans.push((start as u32, (self.bytes.len() - start) as u16));
    }

    /// Keeps the smallest names and the room for those alone.
    fn keep_smallest(&mut self, most: usize) {
        let bytes = &self.bytes;
        self.spans.select_nth_unstable_by(most, |one, other| of(bytes, *one).cmp(of(bytes, *other)));
        let mut kept =
            Self { bytes: Vec::with_capacity(self.bytes.len() / 2), spans: Vec::with_capacity(self.spans.len()) };
        for span in &self.spans[..most] {
            kept.push(of(&self.bytes, *span), false);
        }
        *self = kept;
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|one, other| of(bytes, *one).cmp(of(bytes, *other)));
    }

    fn greatest(&self) -> Option<&[u8]> {
        self.spans.iter().map(|span| of(&self.bytes, *span)).max()
    }
}

fn of(bytes: &[u8], (start, len): (u32, u16)) -> &[u8] {
    &bytes[start as usize..start as usize + usize::from(len)]
}

impl Picker {
    /// Names from `from` on; a directory that `from` lies in counts as not below it.
    pub(in crate::store) fn new(from: Vec<u8>, most: usize) -> Self {
        Self { names: Names::default(), from, most, ceiling: None }
    }

    /// Takes the next name, as the system gives it.
    pub(in crate::store) fn add(&mut self, name: &[u8], directory: bool) {
        if self.is_below(name, directory) || self.is_above(name, directory) {
            return;
        }
        self.names.push(name, directory);
        if self.names.len() >= 2 * self.most {
            self.names.keep_smallest(self.most);
            self.ceiling = self.names.greatest().map(<[u8]>::to_vec);
        }
    }

    fn is_below(&self, name: &[u8], directory: bool) -> bool {
        let inside = directory && self.from.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'/'));
        !inside && compare(name, directory, &self.from).is_lt()
    }

    fn is_above(&self, name: &[u8], directory: bool) -> bool {
        self.ceiling.as_ref().is_some_and(|ceiling| compare(name, directory, ceiling).is_gt())
    }

    pub(in crate::store) fn finish(mut self) -> Picked {
        let mut complete = self.ceiling.is_none();
        if self.names.len() > self.most {
            self.names.keep_smallest(self.most);
            complete = false;
        }
        self.names.sort();
        Picked { names: self.names, complete }
    }
}

/// The first place after a file's name, or after a directory and all that is in it.
pub(in crate::store) fn after_name(name: &[u8]) -> Vec<u8> {
    match name.strip_suffix(b"/") {
        // The byte after the slash.
        Some(bare) => [bare, b"0"].concat(),
        None => [name, b"\0"].concat(),
    }
}

/// Compares a name, with a slash after it if it is a directory's, with a place.
fn compare(name: &[u8], directory: bool, place: &[u8]) -> std::cmp::Ordering {
    name.iter().chain(directory.then_some(&b'/')).cmp(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pick(all: &[(Vec<u8>, bool)], from: &[u8], most: usize) -> Picked {
        let mut picker = Picker::new(from.to_vec(), most);
        for (name, directory) in all {
            picker.add(name, *directory);
        }
        picker.finish()
    }

    fn listed(picked: &Picked) -> Vec<Vec<u8>> {
        (0..picked.names.len()).filter_map(|at| picked.names.get(at)).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_directory_that_the_place_is_in_is_picked() {
        let all = [(b"a".to_vec(), true), (b"a-".to_vec(), false), (b"b".to_vec(), false)];
        assert_eq!(listed(&pick(&all, b"a/x", 9)), [b"a/".to_vec(), b"b".to_vec()]);
        assert_eq!(listed(&pick(&all, b"a-", 9)), [b"a-".to_vec(), b"a/".to_vec(), b"b".to_vec()]);
    }

    proptest! {
        #[test]
        fn passes_over_a_directory_give_all_names_in_order(
            names in prop::collection::btree_map("[ab.-]{1,4}", any::<bool>(), 0..40),
            most in 1_usize..9,
        ) {
            let all: Vec<_> = names.into_iter().map(|(name, directory)| (name.into_bytes(), directory)).collect();
            let mut expected: Vec<Vec<u8>> = all.iter().map(|(name, directory)| {
                let mut name = name.clone();
                name.extend(directory.then_some(b'/'));
                name
            }).collect();
            expected.sort();
            let (mut from, mut found) = (Vec::new(), Vec::new());
            loop {
                let picked = pick(&all, &from, most);
                let names = listed(&picked);
                prop_assert!(names.len() <= most);
                // The place after a name is that name and a zero; after a directory's, it is inside the directory.
                found.extend(names.into_iter().filter(|name| *name >= from));
                if picked.complete {
                    break;
                }
                from = found.last().unwrap().clone();
                if from.pop() == Some(b'/') { from.push(b'0') } else { from = [found.last().unwrap().as_slice(), b"\0"].concat() }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
