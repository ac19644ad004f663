//! Copies directories of volumes with modes and owners; file contents by reference where the file system can.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// More threads than this only wait for the file system's own locks.
const THREADS: usize = 4;

/// Something could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("copy {path}: {source}")]
pub struct CopyError {
    /// What.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError { path, source }
}

/// Copies everything in `from` into the directory `to`, which is made; a `from` that does not exist is like an empty
/// one. Sockets, pipes and devices are left out: they belong to processes. So is a file that goes while it is looked at.
/// Returns the number of bytes in files.
///
/// # Errors
/// [`CopyError`].
pub fn tree(from: &Path, to: &Path) -> Result<u64, CopyError> {
    let mut files = Vec::new();
    let mut directories = Vec::new();
    match fs::symlink_metadata(from) {
        Ok(found) => directory(from, to, &found, &mut files, &mut directories)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(failed(from)(source)),
    }
    let share = files.len().div_ceil(THREADS).max(1);
    let outcome = std::thread::scope(|scope| {
        let copy = |part: &[(PathBuf, PathBuf, Metadata)]| {
            part.iter()
                .map(|(source, target, found)| file(source, target, found).map_err(failed(source)))
                .sum::<Result<u64, CopyError>>()
        };
        let workers: Vec<_> = files.chunks(share).map(|part| scope.spawn(move || copy(part))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum::<Result<u64, CopyError>>()
    });
    // Last, and the innermost first: a directory may forbid to write into it.
    for (target, mode) in directories.into_iter().rev() {
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(failed(&target))?;
    }
    outcome
}

fn directory(
    from: &Path,
    to: &Path,
    found: &Metadata,
    files: &mut Vec<(PathBuf, PathBuf, Metadata)>,
    directories: &mut Vec<(PathBuf, u32)>,
) -> Result<(), CopyError> {
    crate::paths::create_private_dir(to).map_err(failed(to))?;
    give(to, found).map_err(failed(to))?;
    directories.push((to.to_owned(), found.mode() & 0o7777));
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let found = match fs::symlink_metadata(&source) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&source)(error)),
        };
        let kind = found.file_type();
        if kind.is_dir() {
            directory(&source, &target, &found, files, directories)?;
        } else if kind.is_symlink() {
            let points_to = fs::read_link(&source).map_err(failed(&source))?;
            std::os::unix::fs::symlink(points_to, &target).map_err(failed(&target))?;
            give(&target, &found).map_err(failed(&target))?;
        } else if kind.is_file() {
            files.push((source, target, found));
        } else if !(kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device()) {
            return Err(failed(&source)(io::ErrorKind::Unsupported.into()));
        }
    }
    Ok(())
}

/// `io::copy` uses `copy_file_range`, which shares the blocks where the file system can.
fn file(source: &Path, target: &Path, found: &Metadata) -> io::Result<u64> {
    let mut from = match File::open(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    let size = io::copy(&mut from, &mut to)?;
    give(target, found)?;
    to.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    Ok(size)
}

/// To the owner of what was copied. Most belongs to this user already.
fn give(target: &Path, found: &Metadata) -> io::Result<()> {
    let now = fs::symlink_metadata(target)?;
    if (now.uid(), now.gid()) == (found.uid(), found.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(target, Some(found.uid()), Some(found.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_files_links_and_modes_and_no_sockets() {
        let base = tempfile::tempdir().unwrap();
        let (from, to) = (base.path().join("from"), base.path().join("to"));
        fs::create_dir_all(from.join("a/locked")).unwrap();
        fs::write(from.join("a/locked/file"), "content").unwrap();
        fs::set_permissions(from.join("a/locked/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(from.join("a/locked"), fs::Permissions::from_mode(0o555)).unwrap();
        std::os::unix::fs::symlink("locked/file", from.join("a/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("api.sock")).unwrap();
        assert_eq!(tree(&from, &to).unwrap(), 7);
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a/locked"), mode("a/locked/file")), (0o555, 0o640));
        assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("locked/file"));
        assert_eq!(fs::read_to_string(to.join("a/link")).unwrap(), "content");
        assert!(!to.join("api.sock").exists());
        fs::set_permissions(from.join("a/locked"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(to.join("a/locked"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_copied_as_nothing() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(tree(&base.path().join("none"), &base.path().join("to")).unwrap(), 0);
    }
}
