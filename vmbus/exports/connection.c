// SPDX-License-Identifier: GPL-2.0
/* The connection. See exports.h. */

#include <linux/delay.h>
#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <asm/mshyperv.h>
#include "hyperv_vmbus.h"
#include "exports.h"

struct vmbus_connection vmbus_connection = {
	.conn_state = DISCONNECTED,
	.next_gpadl_handle = ATOMIC_INIT(0xe1e10),
	.channel_mutex = __MUTEX_INITIALIZER(vmbus_connection.channel_mutex),
	.channelmsg_lock = __SPIN_LOCK_UNLOCKED(vmbus_connection.channelmsg_lock),
	.chn_msg_list = LIST_HEAD_INIT(vmbus_connection.chn_msg_list),
	.chn_list = LIST_HEAD_INIT(vmbus_connection.chn_list),
	.unload_event = COMPLETION_INITIALIZER(vmbus_connection.unload_event),
	.ready_for_suspend_event =
		COMPLETION_INITIALIZER(vmbus_connection.ready_for_suspend_event),
	.all_offers_delivered_event =
		COMPLETION_INITIALIZER(vmbus_connection.all_offers_delivered_event),
};
EXPORT_SYMBOL_GPL(vmbus_connection);

__u32 vmbus_proto_version;
EXPORT_SYMBOL_GPL(vmbus_proto_version);

RUST void vmbus_set_event(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_set_event);
