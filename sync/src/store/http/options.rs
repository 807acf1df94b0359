//! The settings of a web server that is read, and how they are written in URLs and variables.

use std::fmt;

use crate::error::{Result, StoreError};
use crate::store::transport::encode;
use crate::store::{Scheme, StoreAddress};

/// The settings of one web server's directory or file.
#[derive(Clone)]
pub struct HttpOptions {
    /// Whether TLS is used.
    pub encrypted: bool,
    /// The host, and the port if it is another than the usual one.
    pub authority: String,
    /// The path, decoded, without the slash before it. With a slash at its end, or empty, it is a directory; else it
    /// is a single file.
    pub path: Vec<u8>,
    /// The value of the `Authorization` header, as `Bearer TOKEN`. Default: none.
    pub authorization: Option<String>,
}

impl HttpOptions {
    /// What an address says. `environment` reads a variable: `HTTP_AUTHORIZATION` is who asks.
    pub fn at(address: &StoreAddress, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if let Some((name, _)) = address.settings.first() {
            let reason = "web servers take no settings; write a `?` that belongs to the path as %3F";
            return Err(StoreError::invalid(format!("the setting {name}"), reason));
        }
        let options = Self {
            encrypted: address.scheme == Scheme::Https,
            authority: address.authority.clone(),
            path: address.path.clone(),
            authorization: environment("HTTP_AUTHORIZATION").filter(|value| !value.is_empty()),
        };
        Ok(options)
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.path.is_empty() || self.path.ends_with(b"/")
    }
}

/// The address without secrets.
impl fmt::Display for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}/{}", self.authority, encode::path_bytes(&self.path))
    }
}

/// Without any secret.
impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_directory_or_a_file() {
        let at = |text: &str| HttpOptions::at(&text.parse().unwrap(), |_| Some("Bearer hush".to_owned()));
        for (text, directory) in [("http://h", true), ("https://h:1/a%20b/", true), ("http://h/a.iso", false)] {
            let options = at(text).unwrap();
            assert_eq!((options.is_directory(), options.encrypted), (directory, text.starts_with("https")), "{text}");
            assert!(!format!("{options:?} {options}").contains("hush"));
        }
        assert_eq!(at("https://h:1/a%20b/").unwrap().to_string(), "https://h:1/a%20b/");
        assert!(at("http://h/a?b=c").is_err());
    }
}
