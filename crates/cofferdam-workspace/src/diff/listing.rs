//! Names and numbers, as git's `--name-only`, `--name-status`, `--numstat` and `--summary` print them.

use std::io::{self, Write};

use super::quote::{name, rename};
use super::{Diff, Status};

impl Diff {
    /// One name a line (`--name-only`); with `directories` also those added empty, with a slash at the end.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn name_only(&self, directories: bool, out: &mut impl Write) -> io::Result<()> {
        let mut names: Vec<(&[u8], bool)> = self.files.iter().map(|file| (file.new_path.0.as_slice(), false)).collect();
        if directories {
            names.extend(self.empty_directories.iter().map(|path| (path.0.as_slice(), true)));
            names.sort_unstable();
        }
        for (path, directory) in names {
            let path = if directory { [path, b"/"].concat() } else { path.to_vec() };
            out.write_all(&name(&path))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Status letter and name (`--name-status`).
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn name_status(&self, out: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            write!(out, "{}", file.status.letter())?;
            if let (Status::Renamed, Some(similarity)) = (file.status, file.similarity) {
                write!(out, "{similarity:03}\t")?;
                out.write_all(&name(&file.old_path.0))?;
            }
            out.write_all(b"\t")?;
            out.write_all(&name(&file.new_path.0))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Added and deleted lines and name (`--numstat`); `-` for binary files.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn numstat(&self, out: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            if file.binary {
                out.write_all(b"-\t-\t")?;
            } else {
                write!(out, "{}\t{}\t", file.added, file.deleted)?;
            }
            out.write_all(&file.print_name())?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Created, deleted and renamed files and changed modes (`--summary`).
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn summary(&self, out: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            let path = name(&file.new_path.0);
            match (file.old, file.new) {
                (None, Some(new)) => {
                    write!(out, " create mode {:06o} ", new.mode)?;
                    out.write_all(&path)?;
                    out.write_all(b"\n")?;
                }
                (Some(old), None) => {
                    write!(out, " delete mode {:06o} ", old.mode)?;
                    out.write_all(&path)?;
                    out.write_all(b"\n")?;
                }
                (Some(old), Some(new)) => {
                    let renamed = file.status == Status::Renamed;
                    if let (true, Some(similarity)) = (renamed, file.similarity) {
                        out.write_all(b" rename ")?;
                        out.write_all(&file.print_name())?;
                        writeln!(out, " ({similarity}%)")?;
                    }
                    if old.mode != new.mode {
                        write!(out, " mode change {:06o} => {:06o}", old.mode, new.mode)?;
                        if !renamed {
                            out.write_all(b" ")?;
                            out.write_all(&path)?;
                        }
                        out.write_all(b"\n")?;
                    }
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}

impl super::FileDiff {
    /// The name in one line, quoted, with both paths of a rename.
    pub(crate) fn print_name(&self) -> Vec<u8> {
        if self.status == Status::Renamed { rename(&self.old_path.0, &self.new_path.0) } else { name(&self.new_path.0) }
    }
}
