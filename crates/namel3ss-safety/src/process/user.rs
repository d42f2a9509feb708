//! Who the process is: a server may give up its rights after it has begun to log, and its folders are
//! then another user's.
#![cfg_attr(unix, expect(unsafe_code, reason = "the password database has no safe form"))]

use std::path::PathBuf;

/// The effective user; 0 where there are no users.
#[must_use]
pub fn effective_user() -> u32 {
    #[cfg(unix)]
    return rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    0
}

/// A user, as the password database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its login name.
    pub name: String,
    /// Its home folder, which the environment need not name after a change of user.
    pub home: PathBuf,
}

/// How large an entry of the password database may be.
#[cfg(unix)]
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Looks a user up in the password database; `None` where it does not know it, or can't be asked.
#[must_use]
pub fn user(id: u32) -> Option<User> {
    #[cfg(unix)]
    {
        use std::ffi::{CStr, OsStr};
        use std::os::unix::ffi::OsStrExt as _;
        let mut buffer = vec![0_u8; 4096];
        loop {
            let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
            let mut found = std::ptr::null_mut();
            // SAFETY: the entry and the buffer are live, and as long as is said; the entry's texts
            // point into the buffer, and are read below while it lives.
            let code = unsafe {
                libc::getpwuid_r(
                    id,
                    entry.as_mut_ptr(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    &raw mut found,
                )
            };
            if code == libc::ERANGE && buffer.len() < ENTRY_BYTES_MAX {
                buffer.resize(2 * buffer.len(), 0);
                continue;
            }
            if code != 0 || found.is_null() {
                return None;
            }
            // SAFETY: the call has filled the entry, and says so by `found`.
            let entry = unsafe { entry.assume_init() };
            if entry.pw_name.is_null() || entry.pw_dir.is_null() {
                return None;
            }
            // SAFETY: both are C strings in the buffer, which is not changed here.
            let [name, home] =
                unsafe { [entry.pw_name, entry.pw_dir].map(|at| CStr::from_ptr(at)) };
            return Some(User {
                name: name.to_string_lossy().into_owned(),
                home: OsStr::from_bytes(home.to_bytes()).into(),
            });
        }
    }
    #[cfg(not(unix))]
    {
        let _ = id;
        None
    }
}

/// What a user is called in messages: its name, or its number alone.
#[must_use]
pub fn user_name(id: u32) -> String {
    match user(id) {
        Some(user) => format!("{} ({id})", user.name.escape_default()),
        None => format!("user {id}"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_password_database_knows_root_and_not_everybody() {
        let root = user(0).unwrap();
        assert_eq!((root.name.as_str(), user_name(0).as_str()), ("root", "root (0)"));
        assert!(root.home.is_absolute());
        assert_eq!(
            (user(3_999_999_999), user_name(3_999_999_999)),
            (None, "user 3999999999".into())
        );
    }
}
