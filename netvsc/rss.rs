// SPDX-License-Identifier: GPL-2.0

//! How received frames are spread over the channels: a hash, its key, and a table.

use crate::{
    attached::Attached,
    bytes::{
        put_u32,
        u32_at, //
    },
    nic::Nic,
    queue::Session,
    rndis::{
        self,
        Oid, //
    },
};
use kernel::{
    alloc::KVec,
    net::{
        rtnl::Rtnl,
        Device, //
    },
    prelude::*, //
};

/// Bytes of the key.
pub(crate) const KEY: usize = 40;

/// Entries of the table, if the host does not say, and at most.
const TABLE: u32 = 128;
const MAX_TABLE: u32 = 256;

/// The key of Microsoft's specification of RSS, whose hashes are published.
const DEFAULT_KEY: [u8; KEY] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// What the host can do.
#[derive(Clone, Copy)]
pub(crate) struct Capabilities {
    /// Channels that it can spread frames over.
    pub(crate) queues: u32,
    /// Entries of the table.
    pub(crate) table: u32,
}

impl Capabilities {
    /// Asks the card. Process context, sleeps.
    pub(crate) fn query(session: &Session, attached: &Attached) -> Result<Self> {
        const OBJECT: usize = 18;
        const TYPE: u8 = 0x88;
        const REVISION: u8 = 2;
        let mut object = [0; OBJECT];
        // CAST: A small constant.
        put_u32(
            &mut object,
            0,
            u32::from_le_bytes([TYPE, REVISION, OBJECT as u8, 0]),
        );
        let answer = attached
            .answers
            .query(session, Oid::RSS_CAPABILITIES, &object)?;
        let object = rndis::information(&answer).ok_or(EINVAL)?;
        let queues = u32_at(object, 12).ok_or(EINVAL)?;
        let table = match object.get(16..18) {
            Some(&[low, high]) => u32::from(u16::from_le_bytes([low, high])),
            _ => 0,
        };

        Ok(Self {
            queues,
            table: if (1..=MAX_TABLE).contains(&table) {
                table
            } else {
                TABLE
            },
        })
    }
}

/// How frames are to be spread. It outlasts setting the card up anew.
pub(crate) struct Rss {
    pub(crate) key: [u8; KEY],
    /// Numbers of queues. Empty if the host does not spread frames.
    pub(crate) table: KVec<u32>,
    /// The table is the user's.
    pub(crate) chosen: bool,
}

impl Rss {
    pub(crate) const fn new() -> Self {
        Self {
            key: DEFAULT_KEY,
            table: KVec::new(),
            chosen: false,
        }
    }

    /// The host wants a table of so many entries; 0: none. `queues` is how many there will be.
    pub(crate) fn resize(&mut self, entries: u32, queues: u32) -> Result {
        if self.table.len() != entries as usize {
            self.table.clear();
            self.table.resize(entries as usize, 0, GFP_KERNEL)?;
            self.chosen = false;
        }
        self.spread_over(queues);
        Ok(())
    }

    /// There are so many queues: all of them are in the table, unless that is the user's.
    pub(crate) fn spread_over(&mut self, queues: u32) {
        if !self.chosen {
            for (entry, queue) in self.table.iter_mut().zip(spread(queues)) {
                *entry = queue;
            }
        }
    }

    /// Whether a table is the one that nobody needs to choose.
    pub(crate) fn is_default(table: &[u32], queues: u32) -> bool {
        table
            .iter()
            .zip(spread(queues))
            .all(|(entry, queue)| *entry == queue)
    }
}

/// Queues one after the other.
fn spread(queues: u32) -> impl Iterator<Item = u32> {
    let queues = queues.max(1);

    (0..).map(move |n: u32| n % queues)
}

/// Tells the card how to spread frames. Process context, sleeps.
pub(crate) fn apply(dev: &Device<Nic>, rtnl: &mut Rtnl, attached: &Attached) -> Result {
    const OBJECT: usize = 40;
    const TYPE: u8 = 0x89;
    const REVISION: u8 = 2;
    const DISABLE: u16 = 0x10;
    /// Toeplitz, over addresses and ports of TCP, and addresses of other IP.
    const HASH: u32 = 1 | 0x100 | 0x200 | 0x400 | 0x1000;
    let session = attached.primary()?;
    let opened = attached.opened().max(1);
    let message = |flags: u16| -> Result<KVec<u8>> {
        let rss = &dev.config.get(rtnl).rss;
        let table = rss.table.len().checked_mul(4).ok_or(EOVERFLOW)?;
        let mut object = KVec::from_elem(0, OBJECT, GFP_KERNEL)?;

        // CAST: Small constants, and at most 4 * `MAX_TABLE`.
        for (at, word) in [
            (0, u32::from_le_bytes([TYPE, REVISION, OBJECT as u8, 0])),
            (4, u32::from(flags)),
            (8, HASH),
            (12, table as u32),
            (16, OBJECT as u32),
            (20, KEY as u32),
            (24, (OBJECT + table) as u32),
        ] {
            put_u32(&mut object, at, word);
        }
        for queue in rss.table.iter() {
            // CAST: Less than the number of queues, which has 16 bits.
            let open = attached.queue((queue % opened) as u16);
            let channel = open.map_or(0, |open| open.session.sub_index());

            object.extend_from_slice(&u32::from(channel).to_le_bytes(), GFP_KERNEL)?;
        }
        object.extend_from_slice(&rss.key, GFP_KERNEL)?;
        Ok(object)
    };

    if dev.config.get(rtnl).rss.table.is_empty() {
        return Err(EOPNOTSUPP);
    }
    // A card does not change it while it is on.
    let off = message(DISABLE)?;
    let on = message(0)?;
    let _ = attached.answers.set(session, Oid::RSS_PARAMETERS, &off);
    attached.answers.set(session, Oid::RSS_PARAMETERS, &on)
}
