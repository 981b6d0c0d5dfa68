// SPDX-License-Identifier: GPL-2.0
/* The bus: abi/hw.rs, abi/plat.rs and abi/sys.rs. See exports.h. */

#include <linux/acpi.h>
#include <linux/clockchips.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/efi.h>
#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/kernel_stat.h>
#include <linux/module.h>
#include <linux/of_address.h>
#include <linux/panic_notifier.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/ptrace.h>
#include <linux/sched/isolation.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/smpboot.h>
#include <linux/syscore_ops.h>
#include <linux/sysctl.h>
#include <linux/sysfb.h>
#include <asm/mshyperv.h>
#include <clocksource/hyperv_timer.h>
#include "hyperv_vmbus.h"
#include "exports.h"

RUST bool vmbus_is_confidential(void)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_is_confidential);

RUST void vmbus_set_skip_unload(bool skip)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_set_skip_unload);

RUST struct device *hv_get_vmbus_root_device(void)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_get_vmbus_root_device);

RUST bool hv_vmbus_exists(void)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_vmbus_exists);

RUST void vmbus_isr(void)
	IN_RUST;
EXPORT_SYMBOL_FOR_MODULES(vmbus_isr, "mshv_vtl");

RUST int __vmbus_driver_register(struct hv_driver *hv_driver,
				 struct module *owner,
				 const char *mod_name)
	IN_RUST;
EXPORT_SYMBOL_GPL(__vmbus_driver_register);

RUST void vmbus_driver_unregister(struct hv_driver *hv_driver)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_driver_unregister);

RUST int
hv_create_ring_sysfs(struct vmbus_channel *channel,
		     int (*hv_mmap_prepare_ring_buffer)(struct vmbus_channel *channel,
							struct vm_area_desc *desc))
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_create_ring_sysfs);

RUST int hv_remove_ring_sysfs(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(hv_remove_ring_sysfs);

RUST void vmbus_device_unregister(struct hv_device *device_obj)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_device_unregister);

RUST int vmbus_allocate_mmio(struct resource **new,
			     struct hv_device *device_obj, resource_size_t min,
			     resource_size_t max, resource_size_t size,
			     resource_size_t align, bool fb_overlap_ok)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_allocate_mmio);

RUST void vmbus_free_mmio(resource_size_t start, resource_size_t size)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_free_mmio);
