//! The program that the images hold: it must need nothing of the image around it.

use std::io;
use std::path::{Path, PathBuf};

/// The program cannot be put into an image.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be read.
    #[error("read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not for Linux on a known processor.
    #[error("{path} is no 64-bit Linux program for x86-64 or arm64")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It needs libraries.
    #[error(
        "{path} needs a dynamic linker, which the images do not have; link it with `-C target-feature=+crt-static`"
    )]
    Dynamic {
        /// The file.
        path: PathBuf,
    },
}

/// A program that can run in an empty image.
#[derive(Debug, Clone)]
pub struct StaticProgram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its processor, in the words of image configurations.
    pub architecture: &'static str,
}

impl StaticProgram {
    /// Reads and examines it.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn read(path: &Path) -> Result<Self, ProgramError> {
        let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let foreign = || ProgramError::Foreign { path: path.to_owned() };
        let architecture = architecture(&bytes).ok_or_else(foreign)?;
        if has_interpreter(&bytes).ok_or_else(foreign)? {
            return Err(ProgramError::Dynamic { path: path.to_owned() });
        }
        Ok(Self { bytes, architecture })
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; N] = bytes.get(at..at + N)?.try_into().ok()?;
    Some(field.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

/// Of the header of an ELF file: 64 bits, little-endian, and the machine.
fn architecture(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    match number::<2>(bytes, 18)? {
        0x3e => Some("amd64"),
        0xb7 => Some("arm64"),
        _ => None,
    }
}

/// Whether a program header asks for a dynamic linker (`PT_INTERP`).
fn has_interpreter(bytes: &[u8]) -> Option<bool> {
    let (table, size, count) = (number::<8>(bytes, 32)?, number::<2>(bytes, 54)?, number::<2>(bytes, 56)?);
    let kind = |index| number::<4>(bytes, usize::try_from(table + index * size).ok()?);
    let kinds = (0..count).map(kind).collect::<Option<Vec<_>>>()?;
    Some(kinds.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one program header of this kind.
    fn elf(machine: u16, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn a_program_is_taken_if_it_runs_alone_on_a_known_processor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            StaticProgram::read(&path)
        };
        assert_eq!(read(&elf(0x3e, 1)).unwrap().architecture, "amd64");
        assert_eq!(read(&elf(0xb7, 1)).unwrap().architecture, "arm64");
        assert!(matches!(read(&elf(0x3e, 3)), Err(ProgramError::Dynamic { .. })));
        assert!(matches!(read(&elf(0x28, 1)), Err(ProgramError::Foreign { .. })));
        assert!(matches!(read(b"#!/bin/sh\n"), Err(ProgramError::Foreign { .. })));
        assert!(matches!(StaticProgram::read(Path::new("/no/such")), Err(ProgramError::Unreadable { .. })));
    }
}
