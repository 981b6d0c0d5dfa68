// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf.h>
#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/xdp.h>

#ifdef CONFIG_NET

__rust_helper void rust_helper_xdp_prog_get(struct bpf_prog *prog)
{
	bpf_prog_inc(prog);
}

__rust_helper void rust_helper_xdp_prog_put(struct bpf_prog *prog)
{
	bpf_prog_put(prog);
}

__rust_helper u32 rust_helper_xdp_prog_run(const struct bpf_prog *prog, struct xdp_buff *xdp)
{
	return bpf_prog_run_xdp(prog, xdp);
}

/* A program has said something that nobody understands, or that failed. */
__rust_helper void rust_helper_xdp_prog_refused(struct net_device *dev,
						const struct bpf_prog *prog, u32 act)
{
	if (act > XDP_REDIRECT)
		bpf_warn_invalid_xdp_action(dev, prog, act);
	else
		trace_xdp_exception(dev, prog, act);
}

/* Bytes of a page that a frame needs, with what may stand before it and what follows it. */
__rust_helper u32 rust_helper_xdp_page_need(u32 len)
{
	return XDP_PACKET_HEADROOM + SKB_DATA_ALIGN(len) +
	       SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
}

/* The frame lies behind the headroom of the page. */
__rust_helper void rust_helper_xdp_prepare_page(struct xdp_buff *xdp, void *page, u32 len,
						struct xdp_rxq_info *rxq)
{
	xdp_init_buff(xdp, PAGE_SIZE, rxq);
	xdp_prepare_buff(xdp, page, XDP_PACKET_HEADROOM, len, false);
}

/* The socket buffer takes the page over. */
__rust_helper struct sk_buff *rust_helper_xdp_page_build_skb(const struct xdp_buff *xdp)
{
	struct sk_buff *skb = napi_build_skb(xdp->data_hard_start, PAGE_SIZE);

	if (skb) {
		skb_reserve(skb, xdp->data - xdp->data_hard_start);
		__skb_put(skb, xdp->data_end - xdp->data);
	}
	return skb;
}

#endif
