// SPDX-License-Identifier: GPL-2.0
/* Channels: abi/channel.rs and abi/data.rs. See exports.h. */

#include <linux/export.h>
#include <linux/hyperv.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/set_memory.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <asm/mshyperv.h>
#include <asm/page.h>
#include "hyperv_vmbus.h"
#include "exports.h"

RUST void vmbus_setevent(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_setevent);

RUST void vmbus_free_ring(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_free_ring);

RUST int vmbus_alloc_ring(struct vmbus_channel *newchannel, u32 send_size,
			  u32 recv_size)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_alloc_ring);

RUST int vmbus_send_tl_connect_request(const guid_t *shv_guest_servie_id,
				       const guid_t *shv_host_servie_id)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_send_tl_connect_request);

RUST int vmbus_send_modifychannel(struct vmbus_channel *channel,
				  u32 target_vp)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_send_modifychannel);

RUST int vmbus_establish_gpadl(struct vmbus_channel *channel, void *kbuffer,
			       u32 size, struct vmbus_gpadl *gpadl)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl);

RUST int
vmbus_establish_gpadl_caller_decrypted(struct vmbus_channel *channel,
				       void *kbuffer, u32 size,
				       struct vmbus_gpadl *gpadl)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_establish_gpadl_caller_decrypted);

RUST void vmbus_free_buffer(void *addr, struct page **chunks,
			    u32 chunk_cnt)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_free_buffer);

RUST void *vmbus_alloc_buffer(struct vmbus_channel *channel, u32 size,
			      struct page ***chunks_out,
			      u32 *chunk_cnt_out)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_alloc_buffer);

RUST int vmbus_connect_ring(struct vmbus_channel *newchannel,
			    void (*onchannelcallback)(void *context),
			    void *context)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_connect_ring);

RUST int vmbus_open(struct vmbus_channel *newchannel, u32 send_ringbuffer_size,
		    u32 recv_ringbuffer_size, void *userdata, u32 userdatalen,
		    void (*onchannelcallback)(void *context),
		    void *context)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_open);

RUST int vmbus_teardown_gpadl(struct vmbus_channel *channel,
			      struct vmbus_gpadl *gpadl)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_teardown_gpadl);

RUST int vmbus_disconnect_ring(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_disconnect_ring);

RUST void vmbus_close(struct vmbus_channel *channel)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_close);

RUST int vmbus_sendpacket_getid(struct vmbus_channel *channel, void *buffer,
				u32 bufferlen, u64 requestid, u64 *trans_id,
				enum vmbus_packet_type type, u32 flags)
	IN_RUST;
EXPORT_SYMBOL(vmbus_sendpacket_getid);

RUST int vmbus_sendpacket(struct vmbus_channel *channel, void *buffer,
			  u32 bufferlen, u64 requestid,
			  enum vmbus_packet_type type, u32 flags)
	IN_RUST;
EXPORT_SYMBOL(vmbus_sendpacket);

RUST int vmbus_sendpacket_mpb_desc(struct vmbus_channel *channel,
				   struct vmbus_packet_mpb_array *desc,
				   u32 desc_size, void *buffer, u32 bufferlen,
				   u64 requestid)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_sendpacket_mpb_desc);

RUST int vmbus_recvpacket(struct vmbus_channel *channel, void *buffer,
			  u32 bufferlen, u32 *buffer_actual_len,
			  u64 *requestid)
	IN_RUST;
EXPORT_SYMBOL(vmbus_recvpacket);

RUST int vmbus_recvpacket_raw(struct vmbus_channel *channel, void *buffer,
			      u32 bufferlen, u32 *buffer_actual_len,
			      u64 *requestid)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_recvpacket_raw);

RUST u64 vmbus_next_request_id(struct vmbus_channel *channel,
			       u64 rqst_addr)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_next_request_id);

RUST u64 __vmbus_request_addr_match(struct vmbus_channel *channel, u64 trans_id,
				    u64 rqst_addr)
	IN_RUST;
EXPORT_SYMBOL_GPL(__vmbus_request_addr_match);

RUST u64 vmbus_request_addr_match(struct vmbus_channel *channel, u64 trans_id,
				  u64 rqst_addr)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_request_addr_match);

RUST u64 vmbus_request_addr(struct vmbus_channel *channel, u64 trans_id)
	IN_RUST;
EXPORT_SYMBOL_GPL(vmbus_request_addr);
