//! Where a link's HTTP API is: its base URL, and the origin that credentials may be sent to.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Scheme, host and port, the unit that credentials, nonces and rates belong to (RFC 6454 §4).
/// Printed without a default port: `https://cloud.mongodb.com`, `https://om.example.com:8443`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

/// The base URL of the HTTP API, `https://cloud.mongodb.com/api/public/v1.0` for Cloud Manager:
/// `https` or `http`, without user info, query, fragment or trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    origin: Origin,
}

/// Why a text is no base URL or no origin. It never repeats the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not a URL at all.
    #[error("it is not a URL: write https://HOST[:PORT][/PATH]")]
    NotAUrl,
    /// Another scheme than `https` or `http`.
    #[error("its scheme is neither https nor http")]
    Scheme,
    /// `user:password@` in front of the host.
    #[error("it holds user info: credentials belong into the Secret, not into a URL")]
    UserInfo,
    /// `?query` or `#fragment`.
    #[error("it has a query or a fragment: leave out everything from ? or # on")]
    QueryOrFragment,
    /// A slash at the end of a base URL.
    #[error("it ends in a slash: leave the slash out")]
    TrailingSlash,
    /// A base URL that the parser mends: it drops white space, turns `\` into `/` and takes `..` away.
    #[error(
        "it can be read in two ways: leave out white space, backslashes, empty segments, . and .., and letters that are \
         not ASCII"
    )]
    NotAsWritten,
    /// A path where only an origin may stand.
    #[error("it has a path: an origin is only scheme, host and port, such as https://cloud.mongodb.com")]
    Path,
}

impl Origin {
    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = parse(text)?;
        if url.path() == "/" { Ok(Self::of(&url)) } else { Err(InvalidEndpoint::Path) }
    }
}

impl BaseUrl {
    /// The origin of this URL.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its path, `/` where it has none.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The URL of `path` (which begins with a slash and is already percent-encoded) below this base.
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.ends_with('/') {
            return Err(InvalidEndpoint::TrailingSlash);
        }
        let url = parse(text)?;
        if !is_as_written(text, &url) {
            return Err(InvalidEndpoint::NotAsWritten);
        }
        let origin = Origin::of(&url);
        Ok(Self { url, origin })
    }
}

/// Whether the text says what the parser made of it, so that whoever reads it knows where the requests go.
fn is_as_written(text: &str, url: &Url) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    let mended = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    path == url.path() && !path.contains("//") && !text.contains(mended)
}

fn parse(text: &str) -> Result<Url, InvalidEndpoint> {
    let url = Url::parse(text).map_err(|_| InvalidEndpoint::NotAUrl)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(InvalidEndpoint::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidEndpoint::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidEndpoint::QueryOrFragment);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_normalised() {
        for (text, origin) in [
            ("https://cloud.mongodb.com", "https://cloud.mongodb.com"),
            ("https://Cloud.MongoDB.com:443/", "https://cloud.mongodb.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), origin);
        }
    }

    #[test]
    fn a_base_url_keeps_its_path_and_knows_its_origin() {
        let base: BaseUrl = "https://om.example.com:8443/om/api/public/v1.0".parse().unwrap();
        assert_eq!(base.origin().as_str(), "https://om.example.com:8443");
        assert_eq!(base.to_string(), "https://om.example.com:8443/om/api/public/v1.0");
        assert_eq!(
            base.join("/orgs/5f0d/x").as_str(),
            "https://om.example.com:8443/om/api/public/v1.0/orgs/5f0d/x"
        );
        let short: BaseUrl = "http://om:8080".parse().unwrap();
        assert_eq!(short.to_string(), "http://om:8080");
        assert_eq!(short.join("/orgs/1").as_str(), "http://om:8080/orgs/1");
    }

    #[test]
    fn what_is_wrong_is_named_and_the_text_is_not_repeated() {
        for (text, error) in [
            ("cloud.mongodb.com", InvalidEndpoint::NotAUrl),
            ("ftp://cloud.mongodb.com", InvalidEndpoint::Scheme),
            ("https://user:hunter2@cloud.mongodb.com", InvalidEndpoint::UserInfo),
            ("https://cloud.mongodb.com?x=1", InvalidEndpoint::QueryOrFragment),
            ("https://cloud.mongodb.com#x", InvalidEndpoint::QueryOrFragment),
            ("https://cloud.mongodb.com/", InvalidEndpoint::TrailingSlash),
            ("https://h/a/b/..", InvalidEndpoint::NotAsWritten),
            ("https://h/a/../b", InvalidEndpoint::NotAsWritten),
            ("https://h/a/%2E%2e/b", InvalidEndpoint::NotAsWritten),
            ("https://h/a//b", InvalidEndpoint::NotAsWritten),
            ("https://h/a/\t", InvalidEndpoint::NotAsWritten),
            ("https://h\n/a", InvalidEndpoint::NotAsWritten),
            (" https://h/a", InvalidEndpoint::NotAsWritten),
            ("https://h\\a", InvalidEndpoint::NotAsWritten),
            ("https:h/a", InvalidEndpoint::NotAsWritten),
            ("https://h/ä", InvalidEndpoint::NotAsWritten),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap_err(), error, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!("https://h/path".parse::<Origin>().unwrap_err(), InvalidEndpoint::Path);
    }
}
