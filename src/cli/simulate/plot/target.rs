//! The file of the page: tried before the runs, replaced as a whole after them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;

/// A file that was found to be writable.
#[derive(Debug)]
pub(super) struct Target {
    /// As the person wrote it.
    named: PathBuf,
    /// Where it leads to, links followed.
    file: PathBuf,
    /// Beside it, so that it can be renamed to it.
    temporary: PathBuf,
}

impl Target {
    /// Tries whether `named` can be written.
    ///
    /// # Errors
    /// A usage error with the path and the reason.
    pub(super) fn find_out(named: &Path) -> Result<Self, Failure> {
        let wrong = |reason: &dyn std::fmt::Display| Failure::usage(format!("--plot {}: {reason}", named.display()));
        let file = match fs::metadata(named) {
            Ok(there) if there.is_dir() => return Err(wrong(&"is a folder; name a file in it")),
            // Renaming a page to it would replace the device.
            Ok(there) if !there.is_file() => return Err(wrong(&"is no regular file; name one that can be replaced")),
            Ok(there) if there.permissions().readonly() => return Err(wrong(&"is there and read-only; name another")),
            Ok(_) => fs::canonicalize(named).map_err(|error| wrong(&error))?,
            Err(_) => named.to_owned(),
        };
        let name = file.file_name().ok_or_else(|| wrong(&"names no file"))?;
        let temporary = file.with_file_name(temporary_name(name));
        let tried = File::create(&temporary).and_then(|_| fs::remove_file(&temporary));
        tried.map_err(|error| wrong(&format!("cannot be written: {error}")))?;
        Ok(Self { named: named.to_owned(), file, temporary })
    }

    /// As the person wrote it.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    /// Puts `content` in place of what is there: a reader sees the old file or the new one.
    ///
    /// # Errors
    /// With the path and the reason; nothing half-written is left.
    pub(super) fn write(&self, content: &[u8]) -> Result<(), Failure> {
        let written = self.replace(content);
        if written.is_err() {
            // What is to be told is why it could not be written, not that it could not be cleaned up.
            let _ = fs::remove_file(&self.temporary);
        }
        written.map_err(|error| {
            Failure::failed(format!("--plot {}: the page could not be written: {error}", self.named.display()))
        })
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(&self.temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.file)
    }
}

/// Hidden, and no other process's.
fn temporary_name(name: &OsStr) -> std::ffi::OsString {
    let mut temporary = OsStr::new(".").to_owned();
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    temporary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        match Target::find_out(path) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    #[test]
    fn what_cannot_be_written_is_found_out_with_path_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no/such/folder/out.html");
        let text = refusal(&missing);
        assert!(text.contains("no/such/folder/out.html") && text.contains("cannot be written: No such file"), "{text}");
        assert!(refusal(folder.path()).contains("is a folder"));
        assert!(refusal(Path::new("/dev/null")).contains("no regular file"));
        let sealed = folder.path().join("sealed.html");
        fs::write(&sealed, "x").unwrap();
        let mut permissions = fs::metadata(&sealed).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&sealed, permissions).unwrap();
        assert!(refusal(&sealed).contains("read-only"));
    }

    #[test]
    fn an_old_page_is_replaced_as_a_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.html");
        fs::write(&file, "an older and longer page").unwrap();
        let target = Target::find_out(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "an older and longer page", "trying does not touch it");
        target.write(b"new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_went_away_is_told_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let target = Target::find_out(&inner.join("out.html")).unwrap();
        fs::remove_dir(&inner).unwrap();
        let Err(Failure::Failed(text)) = target.write(b"x") else { panic!("it was written") };
        assert!(text.contains("inner/out.html"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
