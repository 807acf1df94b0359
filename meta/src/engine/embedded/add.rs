//! Atomic addition of little-endian integers of any length.

use bytes::Bytes;

/// `value` plus `operand`, as integers of the operand's length, wrapping. A value of another
/// length is cut or filled with zeros first; an absent one is zero.
pub(super) fn add(value: Option<&[u8]>, operand: &[u8]) -> Bytes {
    let value = value.unwrap_or_default().iter().copied().chain(std::iter::repeat(0));
    let mut carry = 0;
    let digits = operand.iter().zip(value).map(|(left, right)| {
        let sum = u16::from(*left) + u16::from(right) + carry;
        carry = sum >> 8;
        sum as u8
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_adds_as_integers_do(value: u64, operand: u64) {
            let sum = add(Some(&value.to_le_bytes()), &operand.to_le_bytes());
            prop_assert_eq!(&*sum, value.wrapping_add(operand).to_le_bytes());
        }

        #[test]
        fn the_operand_gives_the_length(value: u64, operand: u32) {
            let short = add(Some(&value.to_le_bytes()), &operand.to_le_bytes());
            prop_assert_eq!(&*short, (value as u32).wrapping_add(operand).to_le_bytes());
            let long = add(Some(&operand.to_le_bytes()), &value.to_le_bytes());
            prop_assert_eq!(&*long, value.wrapping_add(u64::from(operand)).to_le_bytes());
        }
    }

    #[test]
    fn nothing_counts_as_zero_and_carries_cross_bytes() {
        assert_eq!(&*add(None, &[1; 32]), &[1; 32]);
        assert_eq!(&*add(Some(&[0xFF; 32]), &[1]), &[0]);
        let mut one = [0; 32];
        one[0] = 1;
        assert_eq!(&*add(Some(&[0xFF; 32]), &one), &[0; 32]);
    }
}
