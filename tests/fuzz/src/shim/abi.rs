// SPDX-License-Identifier: GPL-2.0

//! The bus driver's C interface: what stands for the C structure of a channel.

pub mod ring {
    use crate::channel::Channel;
    use crate::io::SysMem;
    use crate::prelude::*;
    use crate::vmap::VMap;

    pub(crate) fn pre_init() {}

    /// The mappings of a channel's rings.
    pub(crate) struct Mappings {
        send: VMap,
        receive: VMap,
    }

    impl Mappings {
        pub(crate) fn new(send: VMap, receive: VMap) -> Self {
            Self { send, receive }
        }

        pub(crate) fn attach(&mut self, channel: &Channel) -> Result {
            channel.set_rings([self.send.view().as_ptr(), self.receive.view().as_ptr()]);
            Ok(())
        }

        pub(crate) fn detach(&mut self, channel: &Channel) {
            channel.set_rings([std::ptr::slice_from_raw_parts_mut(std::ptr::null_mut(), 0); 2]);
        }

        pub(crate) fn send(&self) -> SysMem<'_, [u8]> {
            self.send.view()
        }
    }
}
