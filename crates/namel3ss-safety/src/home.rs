//! Where the library keeps its things when nobody says where.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The folder for journals and the embedded dataset: `NAMEL3SS_SAFETY_HOME`, or else the
/// [XDG state folder](https://specifications.freedesktop.org/basedir-spec/latest/),
/// `namel3ss/safety` in it: it outlives a reboot, which `/tmp` does not.
#[must_use]
pub fn home() -> PathBuf {
    home_from(|name| std::env::var_os(name))
}

/// The folders for what [`home`] is for, in the order in which they are tried, after the process has
/// become this user: the environment names the one of the user before, but for
/// `NAMEL3SS_SAFETY_HOME`; the user's own is the state folder in its home in the password database.
#[must_use]
pub fn homes_of_user(id: u32) -> Vec<PathBuf> {
    let named = std::env::var_os("NAMEL3SS_SAFETY_HOME").filter(|home| !home.is_empty());
    let known = crate::process::user(id).map(|user| user.home);
    let own = known.map(|home| home.join(".local/state").join("namel3ss").join("safety"));
    named.map(PathBuf::from).into_iter().chain(own).collect()
}

fn home_from(var: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let set = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("NAMEL3SS_SAFETY_HOME") {
        return home;
    }
    let state = set("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .or_else(|| set("LOCALAPPDATA"))
        .unwrap_or_else(std::env::temp_dir);
    state.join("namel3ss").join("safety")
}

/// Makes the folder `path` and what is missing above it; what is made is for its owner alone (0700).
///
/// # Errors
/// The operating system's own.
pub fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_wins() {
        let with = |vars: &'static [(&str, &str)]| {
            home_from(move |name| {
                vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(with(&[("NAMEL3SS_SAFETY_HOME", "/data")]), PathBuf::from("/data"));
        let xdg = with(&[("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")]);
        assert_eq!(xdg, PathBuf::from("/state/namel3ss/safety"));
        let relative = with(&[("XDG_STATE_HOME", "state"), ("HOME", "/home/a")]);
        assert_eq!(relative, PathBuf::from("/home/a/.local/state/namel3ss/safety"));
    }
}
