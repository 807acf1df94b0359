//! Identities of volumes and regions: 16 random bytes, printed as a UUID.

use std::fmt;
use std::str::FromStr;

/// Bytes or text that do not form the value they stand for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {found}; expected {expected}")]
pub struct Malformed {
    /// The value that was expected, such as "volume id".
    pub what: &'static str,
    /// What was found instead, shortened.
    pub found: String,
    /// The form it must have.
    pub expected: &'static str,
}

impl Malformed {
    pub(crate) fn bytes(what: &'static str, found: &[u8], expected: &'static str) -> Self {
        let found = format!("{} bytes", found.len());
        Self { what, found, expected }
    }

    pub(crate) fn text(what: &'static str, found: &str, expected: &'static str) -> Self {
        let found = format!("{:?}", found.chars().take(80).collect::<String>());
        Self { what, found, expected }
    }
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new identity from 16 random bytes.
            pub fn from_random(random: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(random).into_uuid().into_bytes())
            }

            /// The 16 bytes as they are stored and sent.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = Malformed;
            fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
                let array = bytes.try_into();
                array.map(Self).map_err(|_| Malformed::bytes($what, bytes, "16 bytes"))
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let parsed = uuid::Uuid::from_str(text);
                parsed.map(|id| Self(id.into_bytes())).map_err(|_| Malformed::text($what, text, "a UUID"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                uuid::Uuid::from_bytes(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_newtype!(
    /// The identity of a volume, the same in every region, given once at format.
    VolumeId,
    "volume id"
);

uuid_newtype!(
    /// The identity of one region of a volume: the primary or one mirror.
    RegionId,
    "region id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_back() {
        let id = VolumeId::from_random([7; 16]);
        assert_eq!(id.to_string().parse::<VolumeId>().unwrap(), id);
        assert_eq!(VolumeId::try_from(id.as_bytes().as_slice()).unwrap(), id);
    }

    #[test]
    fn refuses_other_lengths_and_text() {
        assert!(VolumeId::try_from([0u8; 15].as_slice()).is_err());
        assert!("not-a-uuid".parse::<RegionId>().is_err());
    }
}
