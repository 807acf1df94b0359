//! Times as HTTP and object stores write them.

use chrono::{DateTime, Utc};

use crate::timestamp::Timestamp;

/// From a header, as in `Fri, 24 May 2013 00:00:00 GMT`.
pub(crate) fn from_http(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc2822(text).ok().map(|time| of(&time.to_utc()))
}

/// From a listing, as in `2013-05-24T00:00:00.000Z`.
pub(crate) fn from_iso(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| of(&time.to_utc()))
}

/// As signatures have it: `20130524T000000Z`.
pub(crate) fn to_basic(time: Timestamp) -> String {
    utc(time).format("%Y%m%dT%H%M%SZ").to_string()
}

/// As headers have it.
pub(crate) fn to_http(time: Timestamp) -> String {
    utc(time).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn of(time: &DateTime<Utc>) -> Timestamp {
    Timestamp::new(time.timestamp(), time.timestamp_subsec_nanos())
}

fn utc(time: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(time.seconds(), 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_the_same_moment() {
        let time = Timestamp::new(1_369_353_600, 0);
        assert_eq!(from_http("Fri, 24 May 2013 00:00:00 GMT"), Some(time));
        assert_eq!(from_iso("2013-05-24T00:00:00.000Z"), Some(time));
        assert_eq!(from_iso("2013-05-24T00:00:00.5Z"), Some(Timestamp::new(1_369_353_600, 500_000_000)));
        assert_eq!(to_basic(time), "20130524T000000Z");
        assert_eq!(to_http(time), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!(from_http("yesterday"), None);
        assert_eq!(from_iso(""), None);
    }
}
