//! Paths as tools name them, and as the log does.

use cofferdam_core::Bytes;

/// Where the agent works.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The project.
    pub project: Vec<u8>,
    /// Where the command started, relative to the project.
    pub cwd: Vec<u8>,
}

impl Place {
    pub(super) fn new(project: &Bytes, cwd: &Bytes) -> Place {
        let below = cwd.0.strip_prefix(project.0.as_slice()).map(|rest| rest.strip_prefix(b"/").unwrap_or(rest));
        Place { project: project.0.clone(), cwd: below.unwrap_or_default().to_vec() }
    }

    /// A path as `file.changed` has it: relative to the project where it lies in it, else as it is. Components `.` and
    /// `..` are taken out by name: nothing is looked up.
    pub(super) fn relative(&self, path: &str) -> Bytes {
        let path = path.as_bytes();
        let inside = match path.strip_prefix(self.project.as_slice()) {
            Some(rest) if !self.project.is_empty() && (rest.is_empty() || rest[0] == b'/') => Some(rest.to_vec()),
            _ if path.first() == Some(&b'/') || path.starts_with(b"~") => None,
            _ => Some([self.cwd.as_slice(), b"/", path].concat()),
        };
        let Some(inside) = inside else { return Bytes(path.to_vec()) };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in inside.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Bytes(path.to_vec());
                    }
                }
                part => parts.push(part),
            }
        }
        Bytes(parts.join(&b'/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_log() {
        let place = Place::new(&"/p/app".into(), &"/p/app/sub".into());
        for (path, relative) in [
            ("/p/app/src/a.rs", "src/a.rs"),
            ("a.rs", "sub/a.rs"),
            ("./x/../a.rs", "sub/a.rs"),
            ("../a.rs", "a.rs"),
            ("../../a.rs", "../../a.rs"),
            ("/p/application/a", "/p/application/a"),
            ("/etc/passwd", "/etc/passwd"),
            ("~/x", "~/x"),
            ("/p/app", ""),
        ] {
            assert_eq!(place.relative(path), Bytes::from(relative), "{path}");
        }
    }
}
