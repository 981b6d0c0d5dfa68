// SPDX-License-Identifier: GPL-2.0
/* Rings: abi/data.rs. See exports.h. */

#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/prefetch.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <asm/mshyperv.h>
#include "hyperv_vmbus.h"
#include "exports.h"

RUST int
hv_ringbuffer_get_debuginfo(struct hv_ring_buffer_info *ring_info,
			    struct hv_ring_buffer_debug_info *debug_info)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_ringbuffer_get_debuginfo);

RUST bool hv_ringbuffer_spinlock_busy(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_ringbuffer_spinlock_busy);

RUST struct vmpacket_descriptor *
hv_pkt_iter_first(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_pkt_iter_first);

RUST struct vmpacket_descriptor *
__hv_pkt_iter_next(struct vmbus_channel *channel,
		   const struct vmpacket_descriptor *desc)
	IN_RUST;
EXPORT_SYMBOL_GPL(__hv_pkt_iter_next);

RUST void hv_pkt_iter_close(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_pkt_iter_close);
