//! `bin/plexctl` in a checkout, which the tutorials put on the PATH (`export PATH="$PWD/bin:$PATH"`).
//!
//! ```text
//! bin/
//! └── plexctl -> this program, which is plexctl when it is called by that name
//! ```
//!
//! Made by `up`, and only when it is run at the root of a checkout. Whatever else is called `plexctl` there stays.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::printer;

/// The name of the link in a checkout.
const NAME: &str = "plexctl";

/// Makes the link, and says so. That it could not be made is said as well; the stack is up all the same.
pub fn link_plexctl() {
    let (Ok(here), Ok(program)) = (std::env::current_dir(), std::env::current_exe()) else { return };
    if !is_checkout(&here) {
        return;
    }
    match link(&here, NAME, &program) {
        Ok(true) => printer::say("            export PATH=\"$PWD/bin:$PATH\" && plexctl --help"),
        Ok(false) => printer::say("  note: bin/plexctl is not a link of plexlab's and stays as it is"),
        Err(error) => printer::say(&format!("  note: bin/plexctl could not be made: {error}")),
    }
}

fn is_checkout(directory: &Path) -> bool {
    directory.join("kind/stack").is_dir() && directory.join("xtask/Cargo.toml").is_file()
}

/// Makes `bin/NAME` below a directory lead to `program`; false when something else has that name.
pub fn link(directory: &Path, name: &str, program: &Path) -> io::Result<bool> {
    let bin = directory.join("bin");
    fs::create_dir_all(&bin)?;
    let place = bin.join(name);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if !metadata.is_symlink() => return Ok(false),
        Ok(_) if fs::read_link(&place)? == program => return Ok(true),
        // A link of ours to a program that was built elsewhere.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let fresh = bin.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    symlink(program, &fresh)?;
    fs::rename(&fresh, &place)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_made_once_renewed_and_never_in_the_place_of_a_program() {
        let checkout = tempfile::tempdir().unwrap();
        let place = checkout.path().join("bin/plexctl");
        assert!(!is_checkout(checkout.path()));
        for program in ["/one/xtask", "/one/xtask", "/two/xtask"] {
            assert!(link(checkout.path(), NAME, Path::new(program)).unwrap());
            assert_eq!(fs::read_link(&place).unwrap(), Path::new(program));
        }
        assert_eq!(fs::read_dir(checkout.path().join("bin")).unwrap().count(), 1);
        fs::remove_file(&place).unwrap();
        fs::write(&place, "the real one").unwrap();
        assert!(!link(checkout.path(), NAME, Path::new("/one/xtask")).unwrap());
        assert_eq!(fs::read_to_string(&place).unwrap(), "the real one");
    }
}
