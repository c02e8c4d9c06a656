//! Where contents are from, by address and path.

use serde::Serialize;

/// Where something is from; the less anybody vouches for it, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The network.
    Network,
    /// Issues, pull requests and comments of a forge: anybody may write them.
    Issue,
    /// A tool that is not the agent's own, and hands on what it fetched.
    Tool,
    /// Code of others: dependencies as package managers lay them down.
    Package,
    /// A file outside the project.
    Outside,
    /// A file of the project.
    Project,
}

impl Origin {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Origin::Network => "network",
            Origin::Issue => "issues",
            Origin::Tool => "tool",
            Origin::Package => "package",
            Origin::Outside => "outside",
            Origin::Project => "project",
        }
    }

    /// Nobody of the project vouches for it.
    pub fn is_untrusted(self) -> bool {
        self < Origin::Outside
    }
}

/// Directories into which package managers put the code of others.
const PACKAGES: &[&str] = &[
    "node_modules/",
    "site-packages/",
    "dist-packages/",
    ".cargo/registry/",
    ".cargo/git/",
    "go/pkg/mod/",
    ".m2/repository/",
    ".gradle/caches/",
    "vendor/bundle/",
    ".rustup/",
    ".npm/",
    ".pnpm-store/",
    "vendor/",
    ".venv/lib/",
    "bower_components/",
    ".yarn/cache/",
];

/// Hosts of forges, and what in a path there is text of anybody's.
const FORGES: &[&str] =
    &["github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gitea.com", "atlassian.net", "linear.app"];
const TALK: &[&str] = &[
    "/issues",
    "/pull",
    "/pulls",
    "/merge_requests",
    "/discussions",
    "/comments",
    "/notes",
    "/browse/",
    "/issue/",
    "/graphql",
];

pub(super) fn of_address(address: &str) -> Origin {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host =
        authority.rsplit('@').next().unwrap_or(authority).split(':').next().unwrap_or(authority).to_ascii_lowercase();
    let forge =
        FORGES.iter().any(|forge| host == *forge || host.strip_suffix(forge).is_some_and(|rest| rest.ends_with('.')));
    if forge && TALK.iter().any(|word| path.contains(word)) { Origin::Issue } else { Origin::Network }
}

pub(super) fn of_path(path: &[u8], project: &[u8]) -> Origin {
    let text = String::from_utf8_lossy(path);
    let starts = |part: &str| text.starts_with(part) || text.contains(&format!("/{part}"));
    if PACKAGES.iter().any(|part| starts(part)) {
        return Origin::Package;
    }
    let below =
        path.strip_prefix(project).is_some_and(|rest| !project.is_empty() && rest.first().is_none_or(|b| *b == b'/'));
    let outside = path.starts_with(b"/") || path.starts_with(b"~") || path.starts_with(b"../");
    if outside && !below { Origin::Outside } else { Origin::Project }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_contents_are_from() {
        for (address, origin) in [
            ("https://docs.example/issues", Origin::Network),
            ("https://api.github.com/repos/a/b/issues/3", Origin::Issue),
            ("https://github.com/a/b/pull/3", Origin::Issue),
            ("https://github.com/a/b/blob/main/x", Origin::Network),
            ("https://evil-github.com/a/b/issues/1", Origin::Network),
            ("https://github.com@evil.example/a/issues", Origin::Network),
            ("gitlab.com:22", Origin::Network),
        ] {
            assert_eq!(of_address(address), origin, "{address}");
        }
        for (path, origin) in [
            ("src/a.rs", Origin::Project),
            ("/p/src/a.rs", Origin::Project),
            ("node_modules/x/README.md", Origin::Package),
            ("web/node_modules/x/i.js", Origin::Package),
            ("/home/a/.cargo/registry/src/x/lib.rs", Origin::Package),
            ("src/my_node_modules/x", Origin::Project),
            ("/etc/hosts", Origin::Outside),
            ("/project2/a", Origin::Outside),
        ] {
            assert_eq!(of_path(path.as_bytes(), b"/p"), origin, "{path}");
        }
    }
}
