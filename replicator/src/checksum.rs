//! The checksum that intervals and snapshot pages carry: BLAKE3 of the message's own encoding
//! without it. TCP's is weak, and rows that are applied before a digest is compared would
//! otherwise be damaged in silence until it is.

use bytes::Bytes;
use farshore_proto::wire;
use prost::Message;

/// A message that carries its own checksum.
pub(crate) trait Checksummed: Message + Sized {
    /// The field that holds the checksum.
    fn checksum_field(&mut self) -> &mut Bytes;

    /// The same message with its checksum.
    fn sealed(mut self) -> Self {
        let sum = sum_of(&mut self);
        *self.checksum_field() = sum;
        self
    }

    /// Whether the checksum is that of the message; the field is empty afterwards.
    fn unseal(&mut self) -> bool {
        let carried = std::mem::take(self.checksum_field());
        carried == sum_of(self)
    }
}

fn sum_of<M: Checksummed>(message: &mut M) -> Bytes {
    message.checksum_field().clear();
    let sum = blake3::hash(&message.encode_to_vec());
    Bytes::copy_from_slice(sum.as_bytes())
}

impl Checksummed for wire::Interval {
    fn checksum_field(&mut self) -> &mut Bytes {
        &mut self.checksum
    }
}

impl Checksummed for wire::SnapshotPage {
    fn checksum_field(&mut self) -> &mut Bytes {
        &mut self.checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_seen() {
        let row = wire::Row { key: Bytes::from_static(b"DN"), value: Bytes::from_static(b"value") };
        let page = wire::SnapshotPage { rows: vec![row], next: Bytes::from_static(b"E"), ..Default::default() };
        let sent = page.sealed().encode_to_vec();
        for bit in 0..sent.len() * 8 {
            let mut damaged = sent.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let seen = wire::SnapshotPage::decode(damaged.as_slice()).map_or(true, |mut page| !page.unseal());
            assert!(seen, "bit {bit}");
        }
        assert!(wire::SnapshotPage::decode(sent.as_slice()).unwrap().unseal());
    }
}
