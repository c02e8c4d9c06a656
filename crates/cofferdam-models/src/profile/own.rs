//! The person's own profiles: `NAME.toml` in a directory of theirs, in the place of the shipped one of that name.

use std::path::Path;

use cofferdam_policy::file::{self, FileError};
use cofferdam_policy::{Class, Diagnostic, Source};
use serde::Deserialize;

use super::Profile;

/// Most files of the directory that are looked at.
const MOST: usize = 256;

/// Why a person's profile was not read.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is wrong in it.
    #[error("{}:{}: {}", text.path.display(), text.position(error.span.start).line, error.message)]
    Wrong {
        /// Its text.
        text: Source,
        /// The first error.
        error: Box<Diagnostic>,
    },
}

/// The names of the profiles in a directory, in order; none where there is no such directory.
///
/// # Errors
/// Where it cannot be listed.
pub fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let io = |error| FileError::Io { path: directory.to_owned(), error };
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(e)),
    };
    let mut names = Vec::new();
    for entry in entries.take(MOST) {
        let name = entry.map_err(io)?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".toml")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Reads the profile of this name; `None` where there is none.
///
/// # Errors
/// Where the file cannot be read or is no profile.
pub fn read(directory: &Path, name: &str) -> Result<Option<Profile>, OwnError> {
    let Some(source) = file::read(&directory.join(format!("{name}.toml")))? else { return Ok(None) };
    match parse(&source, name) {
        Ok(profile) => Ok(Some(profile)),
        Err(error) => Err(OwnError::Wrong { text: source, error: Box::new(error) }),
    }
}

fn parse(source: &Source, name: &str) -> Result<Profile, Diagnostic> {
    let read = toml::de::Deserializer::parse(&source.text).and_then(Profile::deserialize);
    let profile = read.map_err(|e| Diagnostic::of_toml(source, &e))?;
    let at = |word: &str| {
        let start = source.text.find(word).unwrap_or(0);
        start..start + word.len().min(source.text.len() - start)
    };
    let wrong = |class, word: &str, message: String, help: &str| {
        Err(Diagnostic { class, message, span: at(word), label: "this".into(), other: None, help: Some(help.into()) })
    };
    if profile.name != name {
        let message = format!("the profile of this file is `{name}`, as it is called");
        return wrong(Class::Name, &profile.name, message, "give the file the agent's name, or the agent the file's");
    }
    let paths = profile.configuration.iter().map(|own| &own.path);
    let own =
        paths.chain(&profile.versions).chain(&profile.transcripts).chain(profile.moved.iter().map(|own| &own.from));
    for path in own {
        if !is_plain(path) {
            let message = format!("`{path}` is no path below the home");
            return wrong(Class::Path, path, message, "write it from the home, without `~/`, `.` and `..`");
        }
    }
    for base in profile.provider.iter().flat_map(|provider| &provider.base) {
        let given = [&base.env, &base.option, &base.file].iter().filter(|one| one.is_some()).count();
        if given != 1 || base.file.is_some() != base.key.is_some() || base.variable.is_some() != base.header.is_some() {
            let help = "name one of `env`, `option`, and `file` with `key`; `variable` goes with `header`";
            return wrong(Class::Contradiction, "base", "`base` does not say where the endpoint is set".into(), help);
        }
    }
    Ok(profile)
}

/// Whether a path leads nowhere but below where it is looked for.
fn is_plain(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (Class, u32, String) {
        let source = Source::new("mine.toml", text);
        let error = parse(&source, "mine").unwrap_err();
        (error.class, source.position(error.span.start).line, format!("{} {}", error.message, error.label))
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, class, line, words) in [
            ("name = \"mine\"\ntitel = \"x\"\n", Class::UnknownKey, 2, "did you mean `title`?"),
            ("name = \"mine\"\npackages = 3\n", Class::WrongType, 2, "a sequence"),
            ("name = \"other\"\n", Class::Name, 1, "`mine`"),
            ("title = \"x\"\n", Class::Missing, 1, "`name`"),
            ("name = \"mine\"\n[[configuration]]\npath = \"../x\"\n", Class::Path, 3, "below the home"),
            (
                "name = \"mine\"\n[[configuration]]\npath = \"a\"\nformat = \"jsn\"\n",
                Class::UnknownValue,
                4,
                "did you mean `json`?",
            ),
            ("name = \"mine\"\n[[endpoint]]\npurpose = \"x\"\nhost = \"*\"\n", Class::UnknownValue, 4, "*"),
            (
                "name = \"mine\"\n[[provider]]\nname = \"x\"\npurpose = \"x\"\nbase = [{ file = \"x\" }]\n",
                Class::Contradiction,
                5,
                "base",
            ),
            ("name = \"mine\n", Class::Syntax, 1, ""),
        ] {
            let (got, at, message) = wrong(text);
            assert_eq!((got, at), (class, line), "{text}: {message}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn files_of_the_directory_are_profiles_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("agents");
        assert_eq!(names(&at).unwrap(), Vec::<String>::new());
        assert!(read(&at, "mine").unwrap().is_none());
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("mine.toml"), "name = \"mine\"\n").unwrap();
        std::fs::write(at.join("note.txt"), "").unwrap();
        assert_eq!(names(&at).unwrap(), ["mine"]);
        assert_eq!(read(&at, "mine").unwrap().unwrap().name, "mine");
    }
}
