// SPDX-License-Identifier: GPL-2.0

//! The versions of integration services.
//!
//! The host lists the versions of the framework and of the service that it speaks; the guest
//! answers with one of each, in the same packet.
//!
//! C source: [`drivers/hv/channel_mgmt.c`](srctree/drivers/hv/channel_mgmt.c)

use crate::log::warn_limited;
use kernel::{
    bindings,
    prelude::*, //
};

/// What every packet of a service begins with.
const HEADER: usize = size_of::<bindings::vmbuspipe_hdr>() + size_of::<bindings::icmsg_hdr>();
/// A count of versions of the framework, one of the service, and four reserved bytes.
const COUNTS: usize = 8;
/// Bytes of a version.
const VERSION: usize = 4;
/// Most versions that a host may list of either.
const MAX_VERSIONS: usize = bindings::IC_VERSION_NEGOTIATION_MAX_VER_COUNT as usize;
/// What the header of the answer says about the size of what follows it: one version of each.
pub(crate) const ANSWER_SIZE: u16 = (COUNTS + 2 * VERSION) as u16;

/// A version: major number and minor one, in the upper and lower half.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Version(c_int);

impl Version {
    #[cfg(CONFIG_KUNIT = "y")]
    const fn new(major: u16, minor: u16) -> Self {
        Self((major as c_int) << 16 | minor as c_int)
    }

    fn as_bytes(self) -> [u8; VERSION] {
        let [i0, i1, a0, a1] = self.0.to_le_bytes();

        [a0, a1, i0, i1]
    }

    /// As drivers know it.
    pub(crate) fn number(self) -> c_int {
        self.0
    }
}

/// What both sides speak.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Agreed {
    pub(crate) framework: Version,
    pub(crate) service: Version,
}

/// The host's lists, which are read as they are in the packet.
struct Offered<'a> {
    framework: &'a [u8],
    service: &'a [u8],
}

impl<'a> Offered<'a> {
    /// [`None`] if it is not what it says.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (counts, lists) = body.split_first_chunk::<COUNTS>()?;
        let [f0, f1, s0, s1, ..] = *counts;
        let framework = usize::from(u16::from_le_bytes([f0, f1]));
        let service = usize::from(u16::from_le_bytes([s0, s1]));
        if framework > MAX_VERSIONS || service > MAX_VERSIONS {
            return None;
        }

        let (framework, lists) = lists.split_at_checked(framework * VERSION)?;
        let (service, _) = lists.split_at_checked(service * VERSION)?;
        Some(Self { framework, service })
    }
}

/// The first of our versions, which are those that we like best, that is in the host's list.
fn choose(ours: &[Version], offered: &[u8]) -> Option<Version> {
    ours.iter().copied().find(|version| {
        offered
            .chunks_exact(VERSION)
            .any(|bytes| bytes == version.as_bytes())
    })
}

/// Chooses versions, and overwrites the host's packet with the answer, but for the header.
///
/// Returns the versions; [`None`] if there are none that both sides speak, which is what the
/// answer says then. Returns [`EINVAL`] if the packet has no room for an answer. Any context.
pub(crate) fn negotiate(
    packet: &mut [u8],
    framework: &[Version],
    service: &[Version],
) -> Result<Option<Agreed>> {
    let body = packet.get_mut(HEADER..).ok_or(EINVAL)?;
    let agreed = match Offered::parse(body) {
        Some(offered) => choose(framework, offered.framework)
            .zip(choose(service, offered.service))
            .map(|(framework, service)| Agreed { framework, service }),
        None => {
            warn_limited!("a service of the host asks for versions in a packet that is none\n");
            None
        }
    };

    let (counts, lists) = body.split_first_chunk_mut::<4>().ok_or(EINVAL)?;
    let count = u16::from(agreed.is_some());
    let [c0, c1] = count.to_le_bytes();
    *counts = [c0, c1, c0, c1];

    // Who lists nothing need not have room for versions.
    let versions = lists.get_mut(COUNTS - 4..COUNTS - 4 + 2 * VERSION);
    if let Some((first, second)) = versions.and_then(|list| list.split_first_chunk_mut::<VERSION>())
    {
        let agreed = agreed.unwrap_or_default();

        *first = agreed.framework.as_bytes();
        second.copy_from_slice(&agreed.service.as_bytes());
    }
    Ok(agreed)
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(hv_vmbus_service)]
mod tests {
    use super::*;

    const FRAMEWORKS: [Version; 2] = [Version::new(3, 0), Version::new(1, 0)];
    const SERVICES: [Version; 2] = [Version::new(4, 1), Version::new(3, 0)];

    fn packet(framework: &[Version], service: &[Version]) -> Result<KVec<u8>> {
        let mut packet = KVec::from_elem(0u8, HEADER, GFP_KERNEL)?;

        packet.extend_from_slice(&(framework.len() as u16).to_le_bytes(), GFP_KERNEL)?;
        packet.extend_from_slice(&(service.len() as u16).to_le_bytes(), GFP_KERNEL)?;
        packet.extend_from_slice(&[0; 4], GFP_KERNEL)?;
        for version in Iterator::chain(framework.iter(), service) {
            packet.extend_from_slice(&version.as_bytes(), GFP_KERNEL)?;
        }
        Ok(packet)
    }

    #[test]
    fn our_favourite_wins() -> Result {
        let mut question = packet(
            &[Version::new(1, 0), Version::new(3, 0)],
            &[Version::new(3, 0), Version::new(9, 9)],
        )?;
        let agreed = negotiate(&mut question, &FRAMEWORKS, &SERVICES)?.ok_or(EINVAL)?;
        let answer = packet(&[Version::new(3, 0)], &[Version::new(3, 0)])?;

        assert_eq!(agreed.framework, Version::new(3, 0));
        assert_eq!(agreed.service, Version::new(3, 0));
        assert!(question.starts_with(&answer));
        Ok(())
    }

    #[test]
    fn no_common_version() -> Result {
        let mut question = packet(&FRAMEWORKS, &[Version::new(9, 9), Version::new(8, 0)])?;

        assert_eq!(negotiate(&mut question, &FRAMEWORKS, &SERVICES)?, None);
        assert!(question
            .get(HEADER..HEADER + 4)
            .is_some_and(|counts| counts == [0; 4]));
        Ok(())
    }

    #[test]
    fn lists_that_end_too_early() -> Result {
        let mut question = packet(&FRAMEWORKS, &SERVICES)?;

        for len in 0..question.len() {
            let (short, _) = question.split_at_mut_checked(len).ok_or(EINVAL)?;
            let mut short = {
                let mut copy = KVec::new();
                copy.extend_from_slice(short, GFP_KERNEL)?;
                copy
            };

            match negotiate(&mut short, &FRAMEWORKS, &SERVICES) {
                Ok(agreed) => assert_eq!(agreed, None),
                Err(error) => assert!(error == EINVAL && len < HEADER + 4),
            }
        }
        Ok(())
    }

    #[test]
    fn too_many_versions() -> Result {
        let mut question = packet(&[Version::new(3, 0); MAX_VERSIONS + 1], &SERVICES)?;

        assert_eq!(negotiate(&mut question, &FRAMEWORKS, &SERVICES)?, None);
        Ok(())
    }
}
