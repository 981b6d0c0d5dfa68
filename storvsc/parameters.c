// SPDX-License-Identifier: GPL-2.0
/*
 * The parameters: those of module!{} are not visible in sysfs. The variables are Rust's, in
 * parameters.rs.
 */

#include <linux/moduleparam.h>
#include "parameters.h"

module_param_named(logging_level, storvsc_logging_level, int, 0644);
MODULE_PARM_DESC(logging_level, "What is logged: 0 nothing, 1 errors (default), 2 warnings too");

module_param_named(storvsc_ringbuffer_size, storvsc_ring_size, int, 0444);
MODULE_PARM_DESC(storvsc_ringbuffer_size, "Bytes of each ring of a channel");

module_param_named(storvsc_max_hw_queues, storvsc_hw_queues, uint, 0644);
MODULE_PARM_DESC(storvsc_max_hw_queues, "Hardware queues of a controller (default: one per CPU)");

module_param_named(storvsc_vcpus_per_sub_channel, storvsc_cpus_per_channel, int, 0444);
MODULE_PARM_DESC(storvsc_vcpus_per_sub_channel, "CPUs for each sub-channel that counts for the queue depth");

module_param_named(ring_avail_percent_lowater, storvsc_low_water, int, 0444);
MODULE_PARM_DESC(ring_avail_percent_lowater,
		 "Another channel is taken if no more than so much of a ring is free (percent)");
