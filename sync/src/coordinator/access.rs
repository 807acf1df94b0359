//! Who may talk to a coordinator: whoever shows a certificate of the right authority, or the token, or is on this
//! machine.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use farshore_replicator::check_listen;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use super::error::{CoordinatorError, Result};

const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer ";
/// The shortest token: shorter ones are guessed.
const MIN_TOKEN_BYTES: usize = 16;
const MAX_TOKEN_BYTES: usize = 4_096;

/// A secret that both sides know.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// The token in this file, without the space around it.
    ///
    /// # Errors
    /// `Token`, if it cannot be read, is too short to be a secret, or is not printable.
    pub fn read(file: &Path) -> Result<Self> {
        let wrong = |reason: String| CoordinatorError::Token { place: file.display().to_string(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let text = text.trim();
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&text.len()) {
            return Err(wrong(format!(
                "has {} bytes, not {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES}; make one with `openssl rand -hex 32`",
                text.len()
            )));
        }
        let value = format!("{SCHEME}{text}").parse::<MetadataValue<Ascii>>();
        let Some(mut value) = value.ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic())) else {
            return Err(wrong("is not one word of printable ASCII".into()));
        };
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(crate) fn show<T>(&self, request: &mut Request<T>) {
        request.metadata_mut().insert(HEADER, self.0.clone());
    }

    /// Whether a request shows this token. Hashes are compared, in a time that tells nothing of either.
    fn is_shown_by(&self, request: &Request<()>) -> bool {
        let hash = |value: &MetadataValue<Ascii>| blake3::hash(value.as_bytes());
        request.metadata().get(HEADER).is_some_and(|shown| hash(shown) == hash(&self.0))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// Lets a call in that shows the token, if there is one to show.
pub(crate) fn admit(token: Option<&Token>, request: Request<()>) -> std::result::Result<Request<()>, Status> {
    match token {
        Some(token) if !token.is_shown_by(&request) => {
            Err(Status::unauthenticated("the token is wrong or missing; give the coordinator's with --token-file"))
        }
        _ => Ok(request),
    }
}

/// Whether a coordinator may listen there.
pub(crate) fn may_listen(address: SocketAddr, has_tls: bool, insecure: bool) -> Result<()> {
    check_listen(address, has_tls, insecure).map_err(|_| CoordinatorError::Insecure { address: address.to_string() })
}

/// Whether a worker may say there what it has to say, its token above all.
pub(crate) fn may_call(host: &str, has_tls: bool, insecure: bool) -> Result<()> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    let is_near = host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback());
    if has_tls || insecure || is_near {
        return Ok(());
    }
    Err(CoordinatorError::Insecure { address: host.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<Token> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Token::read(file.path())
    }

    #[test]
    fn only_the_same_token_is_let_in() {
        let right = token("0123456789abcdef\n").unwrap();
        let shown = |token: Option<Token>| {
            let mut request = Request::new(());
            if let Some(token) = token {
                token.show(&mut request);
            }
            admit(Some(&right), request).is_ok()
        };
        assert!(shown(Some(token(" 0123456789abcdef ").unwrap())));
        assert!(!shown(Some(token("0123456789abcdeF").unwrap())) && !shown(None));
        assert!(admit(None, Request::new(())).is_ok());
        assert!(!format!("{right:?}").contains("0123"));
        for bad in ["", "short", "0123456789\nabcdef", "0123456789abcde\u{e9}"] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plain_tcp_goes_no_further_than_this_machine() {
        for near in ["localhost", "127.0.0.1", "[::1]", "::1"] {
            assert!(may_call(near, false, false).is_ok(), "{near}");
        }
        for far in ["10.0.0.1", "coordinator", "localhost.example.org"] {
            assert!(may_call(far, false, false).is_err(), "{far}");
            assert!(may_call(far, true, false).is_ok() && may_call(far, false, true).is_ok(), "{far}");
        }
    }
}
