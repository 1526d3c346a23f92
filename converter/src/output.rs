//! Output files: checked before anything is computed, and written whole or not at all.
//!
//! An output never replaces an input of its command, and replaces only regular files, never a device, FIFO or folder. A link is followed
//! like in a shell's redirection: its target is written, the link stays. A new file has the mode of the user's umask, an old one keeps
//! its own. Temporary files and folders go when the program is interrupted, too ([`abandon`]).

use crate::files::FileError;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::{NamedTempFile, TempDir};

/// Temporary files that are being written, and temporary folders.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes temporary files that are being written, and temporary folders: for a program that is about to end without finishing them.
pub fn abandon() {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    for path in unfinished.drain(..) {
        // There is no more that could be done.
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

/// A temporary folder that goes when this is dropped, and with [`abandon`].
pub struct TemporaryFolder {
    folder: TempDir,
    _unfinished: Unfinished,
}

impl TemporaryFolder {
    /// A new folder where temporary files of this machine are.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let folder = TempDir::with_prefix("attn-")?;
        let _unfinished = Unfinished::new(folder.path());
        Ok(Self {
            folder,
            _unfinished,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A temporary file or folder that [`abandon`] knows of.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: &Path) -> Self {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.push(path.into());
        Self(path.into())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        unfinished.retain(|path| *path != self.0);
    }
}

/// Limit on links in a chain; a longer one counts as a loop.
const MOST_LINKS: usize = 40;

/// A place where a file may be written.
#[derive(Clone, Debug)]
pub struct Output {
    path: PathBuf,
    named: PathBuf,
    old: Option<Metadata>,
    /// Only the owner can read a new file.
    private: bool,
}

impl Output {
    /// Checks that a file can be written at `path` by a command that reads `inputs`.
    ///
    /// # Errors
    /// [`FileError::IsInput`], [`FileError::NotRegular`], [`FileError::NoFolder`].
    pub fn new<P: AsRef<Path>>(
        path: &Path,
        inputs: impl IntoIterator<Item = P>,
    ) -> Result<Self, FileError> {
        let failed = |source| FileError::Io {
            path: path.into(),
            source,
        };
        let target = followed(path).map_err(failed)?;
        let old = match fs::metadata(&target) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Err(FileError::NotRegular { path: path.into() });
        }
        let is_input = |input: P| same_file(&target, old.as_ref(), input.as_ref());
        if inputs.into_iter().any(is_input) {
            return Err(FileError::IsInput { path: path.into() });
        }
        if !folder(&target).is_dir() {
            return Err(FileError::NoFolder { path: path.into() });
        }
        Ok(Self {
            path: target,
            named: path.into(),
            old,
            private: false,
        })
    }

    /// The same; only its owner can read the new file.
    pub fn private(self) -> Self {
        Self {
            private: true,
            ..self
        }
    }

    /// The target, if the given path is a link.
    pub fn behind_link(&self) -> Option<&Path> {
        (self.path != self.named).then_some(&self.path)
    }

    /// Lets `fill` write a temporary file beside the output, whose name ends in `suffix`, and renames it to the output.
    ///
    /// # Errors
    /// Errors of `fill`; [`FileError::Io`] if the file cannot be created or renamed.
    pub fn write<E: From<FileError>>(
        &self,
        suffix: &str,
        fill: impl FnOnce(&mut NamedTempFile) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| FileError::Io {
            path: self.named.clone(),
            source,
        };
        let mut file = self.temporary(suffix).map_err(failed)?;
        let _unfinished = Unfinished::new(file.path());
        fill(&mut file)?;
        // The new bytes are on the disk before the old ones are gone.
        file.as_file().sync_all().map_err(failed)?;
        let kept = file
            .persist(&self.path)
            .map_err(|error| failed(error.error));
        Ok(kept.map(drop)?)
    }

    fn temporary(&self, suffix: &str) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.suffix(suffix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The system applies the umask.
            let mode = if self.private { 0o600 } else { 0o666 };
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        let file = builder.tempfile_in(folder(&self.path))?;
        if let Some(old) = &self.old {
            file.as_file().set_permissions(old.permissions())?;
        }
        Ok(file)
    }
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The path after following links. The file that the last link names need not exist.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            // No link, or nothing at all.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("links lead in a circle"))
}

/// True if `input` is the file at `target`, under any name.
fn same_file(target: &Path, old: Option<&Metadata>, input: &Path) -> bool {
    let Some(old) = old else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let _ = target;
        fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (old.dev(), old.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = old;
        matches!((fs::canonicalize(target), fs::canonicalize(input)), (Ok(a), Ok(b)) if a == b)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const NONE: [&Path; 0] = [];

    fn write(path: &Path, text: &str) -> Result<(), FileError> {
        Output::new(path, NONE)?.write(".tmp", |file| {
            fs::write(file.path(), text).unwrap();
            Ok(())
        })
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_has_the_mode_that_any_program_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        write(&ours, "x").unwrap();
        fs::write(&theirs, "x").unwrap();
        assert_eq!(mode(&ours), mode(&theirs));
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o640)).unwrap();
        write(&ours, "y").unwrap();
        assert_eq!(mode(&ours), 0o640);
    }

    #[test]
    fn what_is_not_finished_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(&folder.path().join("out"), NONE).unwrap();
        let result = output.write(".tmp", |file| {
            assert!(file.path().exists());
            abandon();
            assert!(!file.path().exists());
            Err(FileError::NoFolder { path: "x".into() })
        });
        assert!(result.is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [link, target] = ["link", "target"].map(|name| folder.path().join(name));
        symlink("target", &link).unwrap();
        for text in ["new", "again"] {
            write(&link, text).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        let output = Output::new(&link, NONE).unwrap();
        assert_eq!(output.behind_link(), Some(target.as_path()));
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(write(&circle, "x"), Err(FileError::Io { .. })));
    }

    #[test]
    fn devices_fifos_folders_and_inputs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for path in [Path::new("/dev/null"), folder.path(), &fifo] {
            let error = write(path, "x").unwrap_err();
            assert!(matches!(error, FileError::NotRegular { .. }), "{error}");
        }
        let input = folder.path().join("input");
        fs::write(&input, "precious").unwrap();
        let [hard, soft] = ["hard", "soft"].map(|name| folder.path().join(name));
        fs::hard_link(&input, &hard).unwrap();
        symlink(&input, &soft).unwrap();
        for path in [&input, &hard, &soft] {
            let error = Output::new(path, [&input]).unwrap_err();
            assert!(matches!(error, FileError::IsInput { .. }), "{error}");
        }
    }
}
