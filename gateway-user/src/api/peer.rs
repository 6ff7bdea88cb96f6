//! Who is at the other end of the control socket, and what that user may do.
//!
//! The kernel vouches for the peer (`SO_PEERCRED`, unix(7)), so the file mode of the socket decides only who may ask.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::base::Refusal;

/// The user of a connection, as the kernel saw it at connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Who may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writers {
    daemon: u32,
    group: Option<(String, u32)>,
}

impl Writers {
    /// Root, the daemon's own user and the members of `group`.
    ///
    /// # Errors
    /// There is no such group.
    pub fn new(group: Option<&str>) -> Result<Self, Refusal> {
        let group = match group {
            None => None,
            Some(name) => match Group::from_name(name) {
                Ok(Some(group)) => Some((name.to_owned(), group.gid.as_raw())),
                Ok(None) | Err(_) => {
                    return Err(Refusal::new("invalid_setting", "there is no such group")
                        .field("control_group", name)
                        .remedy("create it with `groupadd`, or leave the setting out"));
                }
            },
        };
        Ok(Self { daemon: nix::unistd::geteuid().as_raw(), group })
    }

    /// The group's id, for the socket's ownership.
    pub(super) fn gid(&self) -> Option<u32> {
        self.group.as_ref().map(|(_, gid)| *gid)
    }

    /// Whether `peer` may write. `groups_of` looks up the supplementary groups of a user.
    fn admit(&self, peer: Peer, groups_of: impl FnOnce(Peer) -> Vec<u32>) -> bool {
        peer.uid == 0
            || peer.uid == self.daemon
            || self.group.as_ref().is_some_and(|(_, gid)| peer.gid == *gid || groups_of(peer).contains(gid))
    }

    /// Refuses everybody who may not write.
    pub(super) fn check(&self, peer: Peer) -> Result<(), Refusal> {
        if self.admit(peer, supplementary) {
            return Ok(());
        }
        let remedy = match &self.group {
            Some((name, _)) => format!("run as root or as a member of group `{name}`"),
            None => "run as root or as the daemon's user, or set control_group".to_owned(),
        };
        Err(Refusal::new("forbidden", "this user may read but not change the gateway")
            .field("uid", peer.uid)
            .remedy(remedy))
    }
}

/// The groups that the user database gives a user.
fn supplementary(peer: Peer) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(peer.uid)) else { return Vec::new() };
    let Ok(name) = std::ffi::CString::new(user.name) else { return Vec::new() };
    getgrouplist(&name, Gid::from_raw(peer.gid))
        .map(|groups| groups.into_iter().map(Gid::as_raw).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Peer, Writers};

    #[test]
    fn root_the_daemons_user_and_the_group_may_write_and_nobody_else() {
        let writers = Writers { daemon: 700, group: Some(("ops".to_owned(), 50)) };
        let nobody_in = |_: Peer| Vec::new();
        for (uid, gid, groups, expected) in [
            (0, 0, vec![], true),
            (700, 700, vec![], true),
            (1000, 50, vec![], true),
            (1000, 1000, vec![4, 50], true),
            (1000, 1000, vec![4], false),
            (65534, 0, vec![], false),
        ] {
            assert_eq!(writers.admit(Peer { uid, gid }, |_| groups), expected, "{uid}:{gid}");
        }
        let alone = Writers { daemon: 700, group: None };
        assert!(!alone.admit(Peer { uid: 1000, gid: 50 }, nobody_in));
        assert!(alone.admit(Peer { uid: 0, gid: 50 }, nobody_in));
    }

    #[test]
    fn an_unknown_group_is_refused_by_name() {
        let refusal = Writers::new(Some("no-such-group-here")).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("control_group"));
    }
}
