//! Storage classes of one cloud in the words of another, as far as both have one for the same purpose.

/// Whose words a class is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Amazon's S3, and what speaks like it.
    S3,
    /// Azure's access tiers.
    Azure,
    /// Google's classes.
    Google,
}

/// The same purpose in each provider's words; the first of several is the one that is chosen. From what is read often to
/// what is read hardly ever.
const PURPOSES: [(&[&str], &[&str], &[&str]); 4] = [
    (
        &["STANDARD", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE"],
        &["Hot", "Premium"],
        &["STANDARD", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"],
    ),
    (&["STANDARD_IA", "ONEZONE_IA"], &["Cool"], &["NEARLINE"]),
    (&["GLACIER_IR"], &["Cold"], &["COLDLINE"]),
    (&["DEEP_ARCHIVE", "GLACIER"], &["Archive"], &["ARCHIVE"]),
];

impl Provider {
    /// Whose a store is, by its address.
    pub(crate) fn of(store: &str) -> Option<Self> {
        let scheme = store.split_once("://").map_or("", |(scheme, _)| scheme);
        match scheme {
            "s3" => Some(Self::S3),
            "az" => Some(Self::Azure),
            "gs" => Some(Self::Google),
            _ => None,
        }
    }

    fn words(
        self,
        purpose: &(&'static [&'static str], &'static [&'static str], &'static [&'static str]),
    ) -> &'static [&'static str] {
        match self {
            Self::S3 => purpose.0,
            Self::Azure => purpose.1,
            Self::Google => purpose.2,
        }
    }
}

/// A class of one provider in the words of another; none if it has none for that purpose.
pub(crate) fn translated(class: &str, from: Provider, to: Provider) -> Option<&'static str> {
    let purpose =
        PURPOSES.iter().find(|purpose| from.words(purpose).iter().any(|word| word.eq_ignore_ascii_case(class)))?;
    to.words(purpose).first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_keep_their_purpose() {
        for (class, from, to, expected) in [
            ("STANDARD", Provider::S3, Provider::Azure, Some("Hot")),
            ("ONEZONE_IA", Provider::S3, Provider::Google, Some("NEARLINE")),
            ("cold", Provider::Azure, Provider::S3, Some("GLACIER_IR")),
            ("Archive", Provider::Azure, Provider::S3, Some("DEEP_ARCHIVE")),
            ("REGIONAL", Provider::Google, Provider::S3, Some("STANDARD")),
            ("A_SERVERS_OWN", Provider::S3, Provider::Azure, None),
        ] {
            assert_eq!(translated(class, from, to), expected, "{class}");
        }
    }

    #[test]
    fn addresses_name_their_provider() {
        assert_eq!(Provider::of("s3://b/p"), Some(Provider::S3));
        assert_eq!(Provider::of("az://account/container"), Some(Provider::Azure));
        assert_eq!(Provider::of("file:///s3://"), None);
    }
}
