//! The state digest: a 256-bit sum over the hashes of all durable rows.
//!
//! Sums commute, so that every transaction can add its change without reading the digest, and
//! two regions that hold the same rows have the same digest, however they came to them.

use std::fmt;

use farshore_proto::Malformed;

/// The sum, modulo 2^256, of BLAKE3(key length, key, value) over the durable rows.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a single row.
    pub fn of_row(key: &[u8], value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u32).to_le_bytes());
        hasher.update(key);
        hasher.update(value);
        Self(*hasher.finalize().as_bytes())
    }

    /// What replacing `before` by `after` at `key` adds to the digest.
    pub fn of_change(key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> Self {
        let row = |value: Option<&[u8]>| value.map_or(Self::default(), |value| Self::of_row(key, value));
        row(after).plus(row(before).negated())
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (a, b) = (self.limbs(), other.limbs());
        let mut carry = false;
        Self::from_limbs(std::array::from_fn(|i| {
            let (sum, over) = a[i].overflowing_add(b[i]);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            carry = over || over_carry;
            sum
        }))
    }

    fn negated(self) -> Self {
        let inverted = Self(self.0.map(|byte| !byte));
        let mut one = [0; 32];
        one[0] = 1;
        inverted.plus(Self(one))
    }

    fn limbs(self) -> [u64; 4] {
        std::array::from_fn(|i| {
            let bytes = self.0[i * 8..(i + 1) * 8].try_into().expect("8 bytes");
            u64::from_le_bytes(bytes)
        })
    }

    fn from_limbs(limbs: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        Self(bytes)
    }

    /// The sum as a little-endian integer: the operand of an atomic add.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = Malformed;
    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes.try_into().map(Self).map_err(|_| Malformed {
            what: "digest",
            found: format!("{} bytes", bytes.len()),
            expected: "32 bytes",
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn putting_and_deleting_a_row_leaves_nothing(start: [u8; 32], key: Vec<u8>, value: Vec<u8>) {
            let start = Digest(start);
            let put = start.plus(Digest::of_change(&key, None, Some(&value)));
            prop_assert_ne!(put, start);
            prop_assert_eq!(put.plus(Digest::of_change(&key, Some(&value), None)), start);
        }

        #[test]
        fn order_does_not_matter(rows: Vec<(Vec<u8>, Vec<u8>)>) {
            let sum = |rows: &mut dyn Iterator<Item = &(Vec<u8>, Vec<u8>)>| {
                rows.fold(Digest::default(), |sum, (k, v)| sum.plus(Digest::of_row(k, v)))
            };
            prop_assert_eq!(sum(&mut rows.iter()), sum(&mut rows.iter().rev()));
        }
    }

    #[test]
    fn key_and_value_do_not_run_into_each_other() {
        assert_ne!(Digest::of_row(b"ab", b"c"), Digest::of_row(b"a", b"bc"));
    }
}
