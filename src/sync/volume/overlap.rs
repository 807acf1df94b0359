//! Whether stores lie within each other, as far as their addresses tell.

use farshore_sync::store::StoreAddress;

/// Whether one of two stores that are no volumes lies within the other.
pub(super) fn overlap(one: &StoreAddress, other: &StoreAddress) -> bool {
    if (one.scheme, &one.authority) != (other.scheme, &other.authority) {
        return false;
    }
    let endpoints = (one.setting("endpoint"), other.setting("endpoint"));
    if matches!(endpoints, (Some(one), Some(other)) if one.trim_end_matches('/') != other.trim_end_matches('/')) {
        return false;
    }
    let real = |address: &StoreAddress| {
        let path = address.directory().and_then(|path| std::path::absolute(path).ok());
        let path = path.map(|path| path.canonicalize().unwrap_or(path).into_os_string().into_encoded_bytes());
        let mut bytes = path.unwrap_or_else(|| address.path.clone());
        if !bytes.is_empty() && !bytes.ends_with(b"/") {
            bytes.push(b'/');
        }
        bytes
    };
    let (one, other) = (real(one), real(other));
    one.starts_with(&other) || other.starts_with(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_of_blocks_overlaps_what_is_in_it() {
        let overlap = |one: &str, other: &str| overlap(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(overlap("s3://b/p?endpoint=http://one:1", "s3://b/p/q?endpoint=http://one:1/"));
        assert!(overlap("s3://b/p", "s3://b") && overlap("/srv/blocks", "file:///srv"));
        assert!(
            !overlap("s3://b/p", "s3://b/pq")
                && !overlap("s3://b?endpoint=http://one:1", "s3://b?endpoint=http://two:1")
        );
        assert!(!overlap("/srv/a", "/srv/ab") && !overlap("s3://b/p", "gs://b/p"));
    }
}
