//! Passwords as files: a folder with one file per user, as a mounted secret looks.
//!
//! Touches only the folder it is given. A trailing line end, which editors and `echo` add, is no
//! part of a password.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A password file that cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file holds nothing.
    #[error("the password file {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("the password file {} does not exist; `duke users` names its folder", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file exists and cannot be read, or is no text.
    #[error("cannot read the password file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Reads the password of `user` in `folder`.
///
/// # Errors
///
/// A file that gives no password.
pub fn read(folder: &Path, user: &str) -> Result<String, SecretError> {
    let path = folder.join(user);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SecretError::Missing { path });
        }
        Err(source) => return Err(SecretError::Unreadable { path, source }),
    };
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(SecretError::Empty { path });
    }
    Ok(password.to_owned())
}

/// Reads the password of a `user` who need not exist: nothing if `folder` has no such file.
///
/// # Errors
///
/// A file that is there and gives no password.
pub fn read_optional(folder: &Path, user: &str) -> Result<String, SecretError> {
    match read(folder, user) {
        Err(SecretError::Missing { .. }) => Ok(String::new()),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        let folder = std::env::temp_dir().join(format!("duke-secret-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("duke"), "se cret \r\n").unwrap();
        fs::write(folder.join("peer"), "\n").unwrap();
        let duke = read(&folder, "duke");
        let peer = read(&folder, "peer");
        let operator = read(&folder, "operator");
        let optional = ["operator", "duke", "peer"].map(|user| read_optional(&folder, user));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(duke.unwrap(), "se cret ");
        assert!(matches!(peer, Err(SecretError::Empty { .. })));
        assert!(matches!(operator, Err(SecretError::Missing { .. })));
        let [absent, present, empty] = optional;
        assert_eq!(absent.unwrap(), "");
        assert_eq!(present.unwrap(), "se cret ");
        assert!(matches!(empty, Err(SecretError::Empty { .. })));
    }
}
