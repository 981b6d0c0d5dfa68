// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust in the kernel tree cannot say. Exported symbols are in exports/.
 */

#include <linux/hyperv.h>
#include <linux/moduleparam.h>
#include "hyperv_vmbus.h"

int vmbus_irq;
int vmbus_interrupt;

/* Rust reads it; parameters of module!{} are not visible in sysfs. */
unsigned int hv_vmbus_max_version = VERSION_WIN10_V6_0;
module_param_named(max_version, hv_vmbus_max_version, uint, 0444);
MODULE_PARM_DESC(max_version, "Newest VMBus protocol version to offer to the host (major << 16 | minor)");
