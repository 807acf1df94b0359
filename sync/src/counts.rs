//! What a job counted: sums of plain numbers, which ranges report and journals add up.

use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Numbers of objects and bytes. Those of settled ranges add up to those of the job.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// Each number and its name, in the order of this page: for reports, metrics and journals.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Sets the number of this name; whether there is such a name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Entries listed at the source, after filters.
    source_entries,
    /// Their bytes.
    source_bytes,
    /// Entries listed at the target, after filters.
    target_entries,
    /// Keys that filters left out.
    filtered,
    /// Entries that were equal, or left alone because the policy says so.
    skipped,
    /// Entries copied and verified.
    copied,
    /// Bytes of those.
    copied_bytes,
    /// Of the copied, those that the store copied by itself.
    copied_server_side,
    /// Objects brought to the place for backups before they were overwritten or deleted.
    backed_up,
    /// Entries whose attributes alone were changed.
    updated,
    /// Entries that the policy leaves to a person, such as a newer target.
    conflicts,
    /// Entries that could not be copied or compared; each is in the report.
    failed,
    /// Places that could not be listed and may hide keys; each is in the report. Any of them prevents deletions.
    unlisted,
    /// Things that are no objects, such as sockets.
    not_objects,
    /// Entries that were gone from the source when they were to be copied.
    vanished,
    /// Hard links that became files of their own.
    links_not_kept,
    /// Entries planned for deletion.
    deletions_planned,
    /// Bytes of those.
    deletion_bytes_planned,
    /// Entries deleted.
    deleted,
    /// Copies in which something of the source's attributes was left out because the target does not hold it.
    attributes_left_out,
    /// Copies under escaped names, for the target cannot hold their keys.
    keys_escaped,
    /// Objects of which a manifest tells nothing but the size, and that have it.
    unproven,
    /// Requests that were sent again.
    retries,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_and_write_the_same_numbers() {
        let mut counts = Counts { copied: 3, ..Counts::default() };
        counts += Counts { copied: 4, failed: 1, ..Counts::default() };
        let mut again = Counts::default();
        for (name, value) in counts.named() {
            assert!(again.set(name, value));
        }
        assert_eq!((again, again.copied), (counts, 7));
        assert!(!again.set("nothing", 1));
    }
}
