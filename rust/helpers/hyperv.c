// SPDX-License-Identifier: GPL-2.0

#include <linux/acpi.h>
#include <linux/cpumask.h>
#include <linux/efi.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/sched/isolation.h>
#include <linux/set_memory.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <asm/mshyperv.h>
#include <asm/sync_bitops.h>
#include <clocksource/hyperv_timer.h>

/* Of the core kernel only: nothing here may need the module hv_vmbus. */

__rust_helper bool rust_helper_hv_is_isolation_supported(void)
{
	return hv_is_isolation_supported();
}

/* CORE */

__rust_helper void rust_helper_device_lock(struct device *dev)
{
	device_lock(dev);
}

__rust_helper void rust_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

__rust_helper void rust_helper_tasklet_disable(struct tasklet_struct *t)
{
	tasklet_disable(t);
}

__rust_helper void rust_helper_tasklet_enable(struct tasklet_struct *t)
{
	tasklet_enable(t);
}

__rust_helper void rust_helper_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

__rust_helper u32 rust_helper_hv_cpu_number_to_vp_number(int cpu)
{
	return hv_cpu_number_to_vp_number(cpu);
}

/* A block of zeroed pages near a processor; a large one only if that is easy. */
__rust_helper struct page *rust_helper_hyperv_alloc_block(unsigned int cpu, unsigned int order)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO;

	if (order)
		gfp |= __GFP_COMP | __GFP_NORETRY | __GFP_NOWARN;
	return alloc_pages_node(cpu_to_node(cpu), gfp, order);
}

/* The order of such a block. */
__rust_helper unsigned int rust_helper_hyperv_block_order(struct page *page)
{
	return folio_order(page_folio(page));
}

/* PLAT: what firmware says about the bus, and the processors */

__rust_helper bool rust_helper_hv_root_partition(void)
{
	return hv_root_partition();
}

#ifdef CONFIG_ACPI
__rust_helper struct acpi_device *
rust_helper_to_acpi_device_node(struct fwnode_handle *fwnode)
{
	return to_acpi_device_node(fwnode);
}

__rust_helper struct fwnode_handle *
rust_helper_acpi_fwnode_handle(struct acpi_device *adev)
{
	return acpi_fwnode_handle(adev);
}

__rust_helper struct acpi_device *
rust_helper_acpi_dev_parent(struct acpi_device *adev)
{
	return acpi_dev_parent(adev);
}
#endif

__rust_helper bool rust_helper_efi_enabled(int feature)
{
	return efi_enabled(feature);
}

__rust_helper bool rust_helper_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

/* SYS: the driver core as a bus sees it. */

__rust_helper int
rust_helper_device_match_driver_override(struct device *dev,
					 const struct device_driver *drv)
{
	return device_match_driver_override(dev, drv);
}

__rust_helper bool rust_helper_housekeeping_test_cpu(int cpu, enum hk_type type)
{
	return housekeeping_test_cpu(cpu, type);
}

__rust_helper u32 rust_helper_get_random_u32_below(u32 ceil)
{
	return get_random_u32_below(ceil);
}

/* DATA: rings. */

__rust_helper struct page *
rust_helper_alloc_pages_node(int nid, gfp_t gfp_mask, unsigned int order)
{
	return alloc_pages_node(nid, gfp_mask, order);
}

__rust_helper void *rust_helper_page_address(const struct page *page)
{
	return page_address(page);
}

__rust_helper unsigned long rust_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

__rust_helper void *rust_helper_vmap_kernel(struct page **pages,
					    unsigned int count, bool decrypted)
{
	return vmap(pages, count, VM_MAP,
		    decrypted ? pgprot_decrypted(PAGE_KERNEL) : PAGE_KERNEL);
}

__rust_helper bool rust_helper_spin_is_locked(spinlock_t *lock)
{
	return spin_is_locked(lock);
}

/* HW: hypercalls, SynIC, interrupts */

__rust_helper u64 rust_helper_hv_do_hypercall(u64 control, void *input,
					      void *output)
{
	return hv_do_hypercall(control, input, output);
}

/* Unlike hv_do_fast_hypercall8() it keeps the upper bits of @control. */
__rust_helper u64 rust_helper_hv_fast_hypercall8(u64 control, u64 input)
{
#ifdef CONFIG_X86
	return _hv_do_fast_hypercall8(control | HV_HYPERCALL_FAST_BIT, input);
#else
	return hv_do_fast_hypercall8(control, input);
#endif
}

__rust_helper u64 rust_helper_hv_get_msr(unsigned int reg)
{
	return hv_get_msr(reg);
}

__rust_helper void rust_helper_hv_set_msr(unsigned int reg, u64 value)
{
	hv_set_msr(reg, value);
}

__rust_helper bool rust_helper_hv_recommend_using_aeoi(void)
{
	return hv_recommend_using_aeoi();
}

/* Whether the pages of the SynIC are there already, and where its registers say. */
__rust_helper bool rust_helper_hv_synic_pages_given(void)
{
	return ms_hyperv.paravisor_present || hv_root_partition();
}

__rust_helper bool rust_helper_hv_paravisor_present(void)
{
	return ms_hyperv.paravisor_present;
}

__rust_helper void rust_helper_hv_stimer_cleanup(unsigned int cpu)
{
	hv_stimer_cleanup(cpu);
}

/* The other end of these is the host: they are atomic on one processor too. */
__rust_helper void rust_helper_sync_set_bit(long nr, unsigned long *addr)
{
	sync_set_bit(nr, addr);
}

__rust_helper u32 rust_helper_sync_cmpxchg(u32 *ptr, u32 old, u32 new)
{
	return sync_cmpxchg(ptr, old, new);
}

__rust_helper u64 rust_helper_sync_xchg64(u64 *ptr, u64 new)
{
	return xchg(ptr, new);
}

__rust_helper void __percpu *rust_helper_alloc_percpu(size_t size, size_t align)
{
	return __alloc_percpu(size, align);
}

__rust_helper void *rust_helper_per_cpu_ptr(void __percpu *ptr, unsigned int cpu)
{
	return per_cpu_ptr(ptr, cpu);
}

__rust_helper bool rust_helper_cpu_possible(unsigned int cpu)
{
	return cpu_possible(cpu);
}

__rust_helper unsigned long rust_helper_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);

	return flags;
}

__rust_helper void rust_helper_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

__rust_helper void rust_helper_tasklet_schedule(struct tasklet_struct *t)
{
	tasklet_schedule(t);
}

__rust_helper int rust_helper_set_memory_decrypted(unsigned long addr, int pages)
{
	return set_memory_decrypted(addr, pages);
}

__rust_helper int rust_helper_set_memory_encrypted(unsigned long addr, int pages)
{
	return set_memory_encrypted(addr, pages);
}

__rust_helper phys_addr_t rust_helper_virt_to_phys(void *address)
{
	return virt_to_phys(address);
}

__rust_helper unsigned long rust_helper_virt_to_hvpfn(void *address)
{
	return virt_to_hvpfn(address);
}

/*
 * The bus takes spinlock_t in hard interrupt context, but not on PREEMPT_RT,
 * where a thread does the work. These tell lockdep.
 */
static DEFINE_WAIT_OVERRIDE_MAP(hv_interrupt_map, LD_WAIT_CONFIG);

__rust_helper void rust_helper_hv_interrupt_enter(void)
{
	lock_map_acquire_try(&hv_interrupt_map);
}

__rust_helper void rust_helper_hv_interrupt_exit(void)
{
	lock_map_release(&hv_interrupt_map);
}
