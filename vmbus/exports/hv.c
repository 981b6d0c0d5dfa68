// SPDX-License-Identifier: GPL-2.0
/* The hypervisor: abi/hw.rs. See exports.h. */

#include <linux/clockchips.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/mshyperv.h>
#include <clocksource/hyperv_timer.h>
#include "hyperv_vmbus.h"
#include "exports.h"

struct hv_context hv_context;
EXPORT_SYMBOL_FOR_MODULES(hv_context, "mshv_vtl");

RUST int hv_post_message(union hv_connection_id connection_id,
			 enum hv_message_type message_type, void *payload,
			 size_t payload_size)
	IN_RUST;
EXPORT_SYMBOL_FOR_MODULES(hv_post_message, "mshv_vtl");
