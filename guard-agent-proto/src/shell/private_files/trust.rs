use core::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Whose something has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shell) enum Owner {
    /// The user whose process this is.
    Us,
    /// That user, or the administrator, who can do everything anyway.
    UsOrRoot,
}

/// What is known of a file or a directory that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) is_what_is_wanted: bool,
    pub(super) owner: u32,
    pub(super) mode: u32,
    /// How many names it has. 0 if somebody deleted it meanwhile, and 1 for a directory.
    pub(super) links: u64,
}

/// Something that another user may have put there, or can change.
#[derive(Debug)]
pub(super) struct Untrusted {
    path: PathBuf,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A link, a pipe, a device, a file in place of a directory...
    Strange,
    /// A link to nothing, where a directory is wanted.
    Dangling,
    /// Something else, where a directory is wanted.
    NoDirectory,
    OfAnother {
        owner: u32,
        us: u32,
    },
    Writable {
        mode: u32,
    },
    Linked {
        links: u64,
    },
}

/// The permission of others and of the group to write.
const WRITABLE: u32 = 0o022;

impl Traits {
    /// Why it is not to be used by the user `us`, if that is so.
    pub(super) fn trouble(self, owner: Owner, us: u32) -> Option<Why> {
        let is_owned = self.owner == us || owner == Owner::UsOrRoot && self.owner == 0;
        if !self.is_what_is_wanted {
            Some(Why::Strange)
        } else if !is_owned {
            Some(Why::OfAnother { owner: self.owner, us })
        } else if self.mode & WRITABLE != 0 {
            Some(Why::Writable { mode: self.mode & 0o7777 })
        } else if self.links > 1 {
            Some(Why::Linked { links: self.links })
        } else {
            None
        }
    }
}

impl Untrusted {
    pub(super) fn error(path: &Path, why: Why) -> io::Error {
        let kind = match why {
            Why::Strange | Why::Dangling | Why::NoDirectory => ErrorKind::Other,
            Why::OfAnother { .. } | Why::Writable { .. } | Why::Linked { .. } => ErrorKind::PermissionDenied,
        };
        io::Error::new(kind, Self { path: path.to_path_buf(), why })
    }
}

/// Whether an error is about something that another user may have put there, or can change.
pub(in crate::shell) fn is_untrusted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Untrusted>())
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.why {
            Why::Strange => {
                write!(f, "`{path}` is a link or of another kind than expected: remove it")
            }
            Why::Dangling => {
                write!(f, "`{path}` is a link that leads nowhere: create what it names, or remove it")
            }
            Why::NoDirectory => write!(f, "`{path}` is no directory: name another one, or remove it"),
            Why::OfAnother { owner, us } => write!(
                f,
                "`{path}` belongs to the user {owner}, and this process runs as {us}: `chown {us} '{path}'` if \
                 nobody else could write there, else remove it or use a directory of its own"
            ),
            Why::Writable { mode } => write!(
                f,
                "others can write to `{path}` (mode {mode:o}): `chmod go-w '{path}'`, or use a directory of its own"
            ),
            Why::Linked { links } => {
                write!(f, "`{path}` is one of {links} names of a file (hard links): remove the others, or it")
            }
        }
    }
}

impl core::error::Error for Untrusted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_own_or_can_change_is_not_trusted() {
        let ours = Traits { is_what_is_wanted: true, owner: 7, mode: 0o100_644, links: 1 };
        assert_eq!(ours.trouble(Owner::Us, 7), None);
        assert_eq!(Traits { links: 0, ..ours }.trouble(Owner::Us, 7), None, "deleted meanwhile");
        let roots = Traits { owner: 0, ..ours };
        assert_eq!(roots.trouble(Owner::UsOrRoot, 7), None);
        assert_eq!(roots.trouble(Owner::Us, 7), Some(Why::OfAnother { owner: 0, us: 7 }));
        for owner in [Owner::Us, Owner::UsOrRoot] {
            assert_eq!(ours.trouble(owner, 8), Some(Why::OfAnother { owner: 7, us: 8 }));
            assert_eq!(ours.trouble(owner, 0), Some(Why::OfAnother { owner: 7, us: 0 }), "nor by root");
            let strange = Traits { is_what_is_wanted: false, ..ours };
            assert_eq!(strange.trouble(owner, 7), Some(Why::Strange));
            assert_eq!(Traits { links: 2, ..ours }.trouble(owner, 7), Some(Why::Linked { links: 2 }));
        }
        for (mode, shown) in [(0o40_777, 0o777), (0o41_777, 0o1777), (0o100_664, 0o664), (0o100_646, 0o646)] {
            let trouble = Traits { mode, ..ours }.trouble(Owner::Us, 7);
            assert_eq!(trouble, Some(Why::Writable { mode: shown }));
        }
    }

    #[test]
    fn errors_name_the_path_and_how_to_mend_it() {
        let text = |why| std::format!("{}", Untrusted::error(Path::new("/srv/guard"), why));
        let writable = text(Why::Writable { mode: 0o1777 });
        assert!(writable.contains("1777") && writable.contains("chmod go-w '/srv/guard'"), "{writable}");
        let foreign = text(Why::OfAnother { owner: 5, us: 7 });
        assert!(foreign.contains("user 5") && foreign.contains("chown 7 '/srv/guard'"), "{foreign}");
        assert!(text(Why::Strange).contains("/srv/guard"));
        assert!(text(Why::NoDirectory).contains("`/srv/guard` is no directory"));
        assert!(text(Why::Dangling).contains("`/srv/guard` is a link"));
        assert!(text(Why::Linked { links: 2 }).contains("2 names"));
    }

    #[test]
    fn they_are_told_from_others() {
        assert!(is_untrusted(&Untrusted::error(Path::new("/srv"), Why::Strange)));
        assert!(!is_untrusted(&ErrorKind::PermissionDenied.into()));
    }
}
