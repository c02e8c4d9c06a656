//! The mount points of a run that lie in its persistent home.
//!
//! An earlier run may have left anything there: a link in the place of a directory would lead a mount elsewhere in the view,
//! or into nothing, so that no run starts any more.

use std::path::{Component, Path, PathBuf};

use cofferdam_core::plan::{Mount, RunPlan};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, mkdirat, openat, renameat_with, statat};
use rustix::io::Errno;

use crate::store::{StoreError, doing};

/// Moves aside what stands in the way of the plan's mounts below the home, and notes it for the person.
///
/// # Errors
/// Where the home layer cannot be changed.
pub(crate) fn clear(plan: &mut RunPlan) -> Result<(), StoreError> {
    let layer = plan.home.as_path().to_owned();
    let home = plan.enclosure.mounts.iter().find_map(|mount| match mount {
        Mount::Bind { source, target, .. } if *source == plan.home => Some(target.as_path().to_owned()),
        _ => None,
    });
    let Some(home) = home else { return Ok(()) };
    let inner: Vec<(PathBuf, bool)> = plan
        .enclosure
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::Bind { source, target, .. } => Some((target, source.as_path().is_dir())),
            Mount::Overlay { target, .. } | Mount::Tmpfs { target, .. } => Some((target, true)),
            Mount::Symlink { target, .. } | Mount::File { target, .. } | Mount::Bundle { target, .. } => {
                Some((target, false))
            }
            Mount::Hidden { .. } => None, // hides what is there, makes nothing
        })
        .filter_map(|(target, directory)| Some((target.as_path().strip_prefix(&home).ok()?.to_owned(), directory)))
        .filter(|(path, _)| path.components().next().is_some())
        .collect();
    for (path, directory) in inner {
        if let Some(moved) = clear_one(&layer, &path, directory)
            .map_err(|e| doing("clearing the way to", &layer.join(&path))(e.into()))?
        {
            plan.notes.push(format!(
                "an earlier run left something else where ~/{} belongs: it is now ~/{}",
                path.display(),
                moved.display()
            ));
        }
    }
    Ok(())
}

/// Walks from the home down to `path`, a descriptor for each directory, following nothing. What it had to move, by its new
/// name. `wanted` says whether a directory is mounted there.
fn clear_one(layer: &Path, path: &Path, wanted: bool) -> rustix::io::Result<Option<PathBuf>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = openat(CWD, layer, flags, Mode::empty())?;
    let mut so_far = PathBuf::new();
    let last = path.components().count() - 1;
    for (depth, component) in path.components().enumerate() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL) };
        let kind = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(None), // init makes the rest
            Err(e) => return Err(e),
        };
        // A file is mounted on anything but a directory (mount(2), ENOTDIR); a link may not stand anywhere.
        let directory_there = kind == FileType::Directory;
        let in_the_way = kind == FileType::Symlink || directory_there != (wanted || depth < last);
        if in_the_way {
            for number in 0..u32::MAX {
                let aside = format!("{}.moved-aside-{number}", name.to_string_lossy());
                match renameat_with(&directory, name, &directory, &*aside, RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => {}
                    other => {
                        other?;
                        if depth < last {
                            mkdirat(&directory, name, Mode::from_raw_mode(0o755))?;
                        }
                        return Ok(Some(so_far.join(aside)));
                    }
                }
            }
        }
        if depth < last {
            directory = openat(&directory, name, flags, Mode::empty())?;
            so_far.push(name);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_moved_aside_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join("good/app")).unwrap();
        std::fs::create_dir_all(home.join("deep")).unwrap();
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), home.join("link")).unwrap();
        symlink("/nowhere", home.join("deep/app")).unwrap();
        std::fs::write(home.join("file"), "kept").unwrap();
        std::fs::write(home.join("file.moved-aside-0"), "older").unwrap();

        let moved = |path: &str| clear_one(&home, Path::new(path), true).unwrap();
        assert_eq!(moved("good/app"), None);
        assert_eq!(moved("not/there"), None);
        assert_eq!(moved("link/app"), Some("link.moved-aside-0".into()));
        assert_eq!(moved("deep/app"), Some("deep/app.moved-aside-0".into()));
        assert_eq!(moved("file/app"), Some("file.moved-aside-1".into()));
        assert_eq!(std::fs::read_to_string(home.join("file.moved-aside-1")).unwrap(), "kept");
        assert!(home.join("link").symlink_metadata().unwrap().is_dir());
        assert!(dir.path().join("elsewhere").read_dir().unwrap().next().is_none());
        assert_eq!(moved("link/app"), None, "once is enough");
        let for_file = |path: &str| clear_one(&home, Path::new(path), false).unwrap();
        assert_eq!(for_file("file.moved-aside-1"), None);
        assert_eq!(for_file("good/app"), Some("good/app.moved-aside-0".into()), "a directory where a file belongs");
        assert_eq!(moved("file.moved-aside-0"), Some("file.moved-aside-0.moved-aside-0".into()));
    }
}
