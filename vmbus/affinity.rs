// SPDX-License-Identifier: GPL-2.0

//! The choice of the processor that a channel interrupts.
//!
//! Devices whose speed matters (disks and network cards) get their channels spread over the NUMA
//! nodes in turn, and within a node over those processors that serve managed interrupts. The
//! channels of one device go to different processors as long as there are any. All other channels
//! interrupt the processor that the messages of the host come to, too.
//!
//! C source: `drivers/hv/channel_mgmt.c`, `init_vp_index()`; `drivers/hv/hv.c`,
//! `hv_pick_new_cpu()`; `drivers/hv/hyperv_vmbus.h`, `hv_update_allocated_cpus()`.

use crate::{
    abi::plat,
    channel::Channel,
    relid::Channels, //
};
use core::{
    iter,
    ptr, //
};
use kernel::{
    cpu::nr_cpu_ids,
    prelude::*, //
};

/// The processor that the host sends its messages to.
pub(crate) const CONNECT_CPU: u32 = 0;

/// A processor that channels may be given to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cpu {
    id: u32,
    node: u32,
}

/// Which processors were given away, and whose turn is next.
pub(crate) struct Spread {
    next_node: u32,
    /// For each processor whether it got a channel in this round; a node starts a new round when
    /// all of its processors did.
    taken: KVec<bool>,
}

impl Spread {
    /// Nothing was given away yet.
    pub(crate) const fn new() -> Self {
        Self {
            next_node: 0,
            taken: KVec::new(),
        }
    }

    fn is_taken(&self, cpu: u32) -> bool {
        self.taken.get(cpu as usize).is_some_and(|taken| *taken)
    }

    /// Notes that a channel was given to `cpu`.
    fn take(&mut self, cpu: u32) {
        let index = cpu as usize;

        if index >= self.taken.len() {
            // If there is no memory to note it, the processor may get one more channel than others.
            let _ = self.taken.resize(index + 1, false, GFP_KERNEL);
        }
        if let Some(taken) = self.taken.get_mut(index) {
            *taken = true;
        }
    }

    /// Notes that no channel is left on `cpu`.
    fn put(&mut self, cpu: u32) {
        if let Some(taken) = self.taken.get_mut(cpu as usize) {
            *taken = false;
        }
    }

    /// Gives away a processor of the next node that has one.
    fn next(&mut self, cpus: &[Cpu], nodes: u32) -> Option<u32> {
        let of_node = |node: u32| cpus.iter().filter(move |cpu| cpu.node == node);
        let node = (0..nodes).find_map(|_| {
            let node = self.next_node;

            self.next_node = node
                .checked_add(1)
                .filter(|next| *next < nodes)
                .unwrap_or(0);
            of_node(node).next().is_some().then_some(node)
        })?;

        let free = of_node(node).find(|cpu| !self.is_taken(cpu.id));
        let cpu = match free {
            Some(cpu) => cpu,
            None => {
                of_node(node).for_each(|cpu| self.put(cpu.id));
                of_node(node).next()?
            }
        };

        self.take(cpu.id);
        Some(cpu.id)
    }

    /// Gives away a processor that is not `used` by another channel of the same device, if there
    /// is one. What is passed over counts as given away.
    ///
    /// `online` is the number of processors; a device that has more sub-channels than that uses
    /// some of them twice anyway.
    fn choose(
        &mut self,
        cpus: &[Cpu],
        nodes: u32,
        online: usize,
        sub_index: u16,
        used: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        for _ in 0..online {
            let cpu = self.next(cpus, nodes)?;

            if usize::from(sub_index) >= online || !used(cpu) {
                return Some(cpu);
            }
        }
        self.next(cpus, nodes)
    }
}

/// Chooses a processor for `channel`, which is not among `channels` yet.
///
/// May sleep. The caller holds `cpus_read_lock()`, and keeps it until the channel is among them, so
/// that the processor does not go offline in between.
pub(crate) fn choose(channel: &Channel, channels: &Channels) -> u32 {
    if !channel.is_perf() {
        return CONNECT_CPU;
    }

    let mut spread = plat::SPREAD.lock();
    let chosen = candidates().ok().and_then(|cpus| {
        spread.choose(
            &cpus,
            plat::nodes(),
            plat::online_cpus().count(),
            channel.sub_index(),
            |cpu| used_by_same_device(channel, channels, cpu),
        )
    });

    match chosen {
        Some(cpu) => cpu,
        // All processors are isolated, or there is no memory.
        None => {
            spread.take(CONNECT_CPU);
            CONNECT_CPU
        }
    }
}

/// Gives back the processor of `channel`, which is no longer among `channels`. May sleep.
pub(crate) fn release(channel: &Channel, channels: &Channels) {
    if channel.is_perf() {
        put_unless_used(channel.target_cpu(), channels);
    }
}

/// Notes that `channel`, one of `channels`, interrupts `new` now and `old` no longer. May sleep.
///
/// [`Channel::target_cpu`] says so already.
pub(crate) fn moved(channel: &Channel, channels: &Channels, old: u32, new: u32) {
    if channel.is_perf() {
        plat::SPREAD.lock().take(new);
        put_unless_used(old, channels);
    }
}

/// Whether channels may be moved to `cpu`, which may be any number. The caller holds
/// `cpus_read_lock()`, as long as the answer has to be true.
pub(crate) fn is_allowed(cpu: u32) -> bool {
    plat::housekeeping_cpus().any(|(id, _)| id == cpu)
}

/// Where channels can be moved that have to leave the processor `leaving`, in the order of trying:
/// all others that are allowed, beginning with any of them, and at last the one that gets the
/// messages, which never goes away. The caller holds the lock of processor hotplug.
pub(crate) fn others(leaving: u32) -> impl Iterator<Item = u32> {
    let start = plat::random_below(nr_cpu_ids());
    let allowed = move || {
        plat::housekeeping_cpus()
            .map(|(id, _)| id)
            .filter(move |id| *id != leaving)
    };
    let from_start = allowed().filter(move |id| *id >= start);
    let before_start = allowed().filter(move |id| *id < start);

    Iterator::chain(
        Iterator::chain(from_start, before_start),
        iter::once(CONNECT_CPU),
    )
}

fn candidates() -> Result<KVec<Cpu>> {
    let mut cpus = KVec::with_capacity(plat::online_cpus().count(), GFP_KERNEL)?;

    for (id, node) in plat::housekeeping_cpus() {
        cpus.push(Cpu { id, node }, GFP_KERNEL)?;
    }
    Ok(cpus)
}

/// Whether another channel of the device that `channel` belongs to interrupts `cpu`.
fn used_by_same_device(channel: &Channel, channels: &Channels, cpu: u32) -> bool {
    channel.primary().is_some_and(|primary| {
        primary.target_cpu() == cpu
            || channels
                .subs_of(primary)
                .any(|sub| !ptr::eq::<Channel>(&**sub, channel) && sub.target_cpu() == cpu)
    })
}

fn put_unless_used(cpu: u32, channels: &Channels) {
    let used = channels
        .iter()
        .any(|channel| channel.is_perf() && channel.target_cpu() == cpu);

    if !used {
        plat::SPREAD.lock().put(cpu);
    }
}

#[kunit_tests(hv_vmbus_affinity)]
mod tests {
    use super::*;

    /// Two nodes of two processors each, and one without any in between.
    const CPUS: [Cpu; 4] = [
        Cpu { id: 0, node: 0 },
        Cpu { id: 1, node: 0 },
        Cpu { id: 2, node: 2 },
        Cpu { id: 3, node: 2 },
    ];
    const NODES: u32 = 3;

    fn choose(spread: &mut Spread, used: &[u32]) -> Option<u32> {
        spread.choose(&CPUS, NODES, CPUS.len(), 1, |cpu| used.contains(&cpu))
    }

    #[test]
    fn nodes_take_turns() {
        let mut spread = Spread::new();

        for expected in [0, 2, 1, 3, 0, 2] {
            assert_eq!(choose(&mut spread, &[]), Some(expected));
        }
    }

    #[test]
    fn one_device_avoids_its_own() {
        let mut spread = Spread::new();

        // 0 and 2 are passed over, and count as given away.
        assert_eq!(choose(&mut spread, &[0, 2]), Some(1));
        assert_eq!(choose(&mut spread, &[0, 1, 2]), Some(3));
        // There is nothing else: the fifth try is taken.
        assert_eq!(choose(&mut spread, &[0, 1, 2, 3]), Some(0));
    }

    #[test]
    fn more_sub_channels_than_processors() {
        let mut spread = Spread::new();
        let cpu = spread.choose(&CPUS, NODES, CPUS.len(), 4, |_| true);

        assert_eq!(cpu, Some(0));
    }

    #[test]
    fn what_is_put_back_comes_again() {
        let mut spread = Spread::new();

        assert_eq!(choose(&mut spread, &[]), Some(0));
        assert_eq!(choose(&mut spread, &[]), Some(2));
        spread.put(0);
        assert_eq!(choose(&mut spread, &[]), Some(0));
        assert_eq!(choose(&mut spread, &[]), Some(3));
        assert_eq!(choose(&mut spread, &[]), Some(1));
    }

    #[test]
    fn a_processor_that_went_offline_is_not_chosen() {
        let mut spread = Spread::new();
        let left = [Cpu { id: 1, node: 0 }];

        assert_eq!(choose(&mut spread, &[]), Some(0));
        for _ in 0..3 {
            assert_eq!(spread.choose(&left, NODES, 1, 0, |_| false), Some(1));
        }
    }

    #[test]
    fn all_processors_isolated() {
        assert_eq!(Spread::new().choose(&[], NODES, 4, 0, |_| false), None);
        assert_eq!(Spread::new().choose(&CPUS, 0, 4, 0, |_| false), None);
    }
}
