//! The proxies between us and the API: the variables that curl reads, and the name of the one that a URL goes through.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy};
use url::Url;

use super::http::SetupError;

/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. No `Debug`: a proxy's URL may hold a password.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// The proxy for `https://` URLs.
    pub https: Option<String>,
    /// The proxy for `http://` URLs.
    pub http: Option<String>,
    /// The proxy for those that have none of their own.
    pub all: Option<String>,
    /// What goes without a proxy: domains (with all below), addresses, networks, or `*`; separated by commas.
    pub no_proxy: Option<String>,
}

/// Which proxy a URL goes through.
pub(super) struct Proxies(Matcher);

impl ProxySettings {
    /// The settings in the environment; upper case goes before lower case, an empty variable is none.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The proxy that `url` goes through, `scheme://host:port` without user info; None if it goes straight.
    ///
    /// # Errors
    /// [`SetupError::Proxy`] when the settings cannot be used.
    pub fn proxy_of(&self, url: &Url) -> Result<Option<String>, SetupError> {
        let (proxies, _) = Proxies::new(self)?;
        Ok(proxies.name(url))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            [name.to_owned(), name.to_lowercase()]
                .iter()
                .filter_map(|name| variable(name))
                .find(|v| !v.is_empty())
        };
        Self {
            https: get("HTTPS_PROXY"),
            http: get("HTTP_PROXY"),
            all: get("ALL_PROXY"),
            no_proxy: get("NO_PROXY"),
        }
    }
}

impl Proxies {
    /// The proxies for reqwest, and the same rules to ask for a name: both apply hyper-util's matcher.
    pub(super) fn new(settings: &ProxySettings) -> Result<(Self, Vec<Proxy>), SetupError> {
        let text = |setting: &Option<String>| setting.clone().unwrap_or_default();
        for (variable, setting) in
            [("HTTPS_PROXY", &settings.https), ("HTTP_PROXY", &settings.http), ("ALL_PROXY", &settings.all)]
        {
            if setting.is_some() && !is_usable(&text(setting)) {
                return Err(SetupError::Proxy(variable));
            }
        }
        let no_proxy = settings.no_proxy.as_deref().and_then(NoProxy::from_string);
        let mut proxies = Vec::new();
        let set = |setting: &Option<String>, variable| setting.clone().map(|url| (url, variable));
        let all = set(&settings.all, "ALL_PROXY");
        if let Some((url, variable)) = set(&settings.https, "HTTPS_PROXY").or(all.clone()) {
            let proxy = Proxy::https(url).map_err(|_| SetupError::Proxy(variable))?;
            proxies.push(proxy.no_proxy(no_proxy.clone()));
        }
        if let Some((url, variable)) = set(&settings.http, "HTTP_PROXY").or(all) {
            let proxy = Proxy::http(url).map_err(|_| SetupError::Proxy(variable))?;
            proxies.push(proxy.no_proxy(no_proxy));
        }
        let matcher = Matcher::builder()
            .https(text(&settings.https))
            .http(text(&settings.http))
            .all(text(&settings.all))
            .no(text(&settings.no_proxy))
            .build();
        Ok((Self(matcher), proxies))
    }

    /// The proxy that `url` goes through, `scheme://host:port` without user info.
    pub(super) fn name(&self, url: &Url) -> Option<String> {
        let proxy = self.0.intercept(&url.as_str().parse().ok()?)?;
        Some(format!("{}://{}", proxy.uri().scheme_str()?, proxy.uri().authority()?))
    }
}

/// A URL of an HTTP proxy (SOCKS is not supported), `http://` may be left out.
fn is_usable(text: &str) -> bool {
    let matcher = Matcher::builder().all(text.to_owned()).build();
    let proxy = matcher.intercept(&http::Uri::from_static("http://example.com/"));
    proxy.is_some_and(|proxy| matches!(proxy.uri().scheme_str(), Some("http" | "https")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> ProxySettings {
        ProxySettings::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn name(variables: &[(&str, &str)], url: &str) -> Option<String> {
        settings(variables).proxy_of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_proxy_is_named_without_its_user_info() {
        let proxy = [("HTTPS_PROXY", "http://user:hunter2@proxy.example.com:3128/")];
        let url = "https://cloud.mongodb.com/api";
        assert_eq!(name(&proxy, url).as_deref(), Some("http://proxy.example.com:3128"));
        assert_eq!(name(&proxy, "http://om.example.com/api"), None);
        assert_eq!(name(&[("https_proxy", "proxy:3128")], url).as_deref(), Some("http://proxy:3128"));
        assert_eq!(name(&[("ALL_PROXY", "https://p")], "http://om:8080/").as_deref(), Some("https://p"));
        let both = [("HTTPS_PROXY", "upper:1"), ("https_proxy", "lower:1"), ("ALL_PROXY", "all:1")];
        assert_eq!(name(&both, url).as_deref(), Some("http://upper:1"));
        assert_eq!(name(&[("HTTPS_PROXY", "")], url), None);
    }

    #[test]
    fn no_proxy_names_domains_addresses_and_networks() {
        for (no_proxy, url, direct) in [
            ("example.com", "https://om.example.com", true),
            (".example.com", "https://om.example.com", true),
            ("example.com", "https://notexample.com", false),
            ("localhost, 10.0.0.0/8", "https://10.1.2.3:8443", true),
            ("127.0.0.1", "http://127.0.0.1:8080", true),
            ("*", "https://cloud.mongodb.com", true),
        ] {
            let variables = [("ALL_PROXY", "http://proxy:3128"), ("no_proxy", no_proxy)];
            assert_eq!(name(&variables, url).is_none(), direct, "{no_proxy} {url}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_that_does_not_repeat_it() {
        for value in ["socks5://hunter2:1080", "ftp://hunter2", "http://hunter2 x", "://hunter2"] {
            let error = Proxies::new(&settings(&[("HTTPS_PROXY", value)])).err().unwrap();
            assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
