//! The host's own way out, for the gateway.

use crate::plan::Host;

/// Variables that name proxies, and what goes without one (curl(1), ENVIRONMENT).
const VARIABLES: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// `NAME=value` for each variable that is set, the name in lower case; of two that differ in case the lower one counts, as in
/// curl(1). They may hold passwords: they belong into no plan and no evidence, and are not set inside.
pub fn of_host(host: &Host) -> Vec<String> {
    let value = |name: &str| {
        let upper = name.to_ascii_uppercase();
        // What is no text names no proxy.
        let set = [name, &upper].into_iter().find_map(|name| host.var(name).filter(|v| !v.0.is_empty()))?;
        Some(format!("{name}={}", std::str::from_utf8(&set.0).ok()?))
    };
    VARIABLES.iter().filter_map(|name| value(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_lower_case_counts_and_an_empty_value_is_none() {
        let set = [
            ("HTTPS_PROXY", "http://upper"),
            ("https_proxy", "http://me:pw@lower:3128"),
            ("http_proxy", ""),
            ("HTTP_PROXY", "http://only"),
            ("NO_PROXY", "a, .b"),
        ];
        let host = Host {
            env: set.map(|(name, value)| (name.into(), value.into())).to_vec(),
            home: PathBuf::new(),
            cwd: PathBuf::new(),
            uid: 1000,
            binary: PathBuf::new(),
        };
        assert_eq!(of_host(&host), ["http_proxy=http://only", "https_proxy=http://me:pw@lower:3128", "no_proxy=a, .b"]);
    }
}
