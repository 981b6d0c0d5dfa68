// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/ethtool.h>
#include <linux/tcp.h>
#include <net/checksum.h>
#include <net/flow_dissector.h>
#include <net/ip6_checksum.h>

#ifdef CONFIG_NET

/* Transmit queues */

__rust_helper void rust_helper_netif_tx_stop_queue(struct netdev_queue *queue)
{
	netif_tx_stop_queue(queue);
}

__rust_helper bool rust_helper_netif_tx_queue_stopped(const struct netdev_queue *queue)
{
	return netif_tx_queue_stopped(queue);
}

__rust_helper bool rust_helper_netif_xmit_stopped(const struct netdev_queue *queue)
{
	return netif_xmit_stopped(queue);
}

__rust_helper void rust_helper_netdev_tx_sent_queue(struct netdev_queue *queue,
						    unsigned int bytes)
{
	netdev_tx_sent_queue(queue, bytes);
}

/* No more than is under way: what was sent before a reset is not, and more is a BUG. */
__rust_helper void rust_helper_netdev_tx_completed_queue(struct netdev_queue *queue,
							 unsigned int packets,
							 unsigned int bytes)
{
#ifdef CONFIG_BQL
	bytes = min(bytes, READ_ONCE(queue->dql.num_queued) - queue->dql.num_completed);
#endif
	netdev_tx_completed_queue(queue, packets, bytes);
}

__rust_helper void rust_helper_netdev_tx_reset_queue(struct netdev_queue *queue)
{
	netdev_tx_reset_queue(queue);
}

__rust_helper void rust_helper_netif_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

__rust_helper void rust_helper_netif_tx_wake_all_queues(struct net_device *dev)
{
	netif_tx_wake_all_queues(dev);
}

__rust_helper bool rust_helper_netdev_xmit_more(void)
{
	return netdev_xmit_more();
}

/* Devices */

__rust_helper void rust_helper_eth_hw_addr_set(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

__rust_helper bool rust_helper_netdev_mc_empty(const struct net_device *dev)
{
	return netdev_mc_empty(dev);
}

/* NAPI */

__rust_helper void
rust_helper_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
			   int (*poll)(struct napi_struct *, int))
{
	netif_napi_add(dev, napi, poll);
}

__rust_helper void rust_helper_netif_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

__rust_helper void rust_helper_napi_gro_receive(struct napi_struct *napi,
						struct sk_buff *skb)
{
	napi_gro_receive(napi, skb);
}

/* Socket buffers */

__rust_helper struct skb_shared_info *rust_helper_skb_shinfo(const struct sk_buff *skb)
{
	return skb_shinfo(skb);
}

__rust_helper u64 rust_helper_skb_frag_phys(const skb_frag_t *frag)
{
	return page_to_phys(skb_frag_page(frag)) + skb_frag_off(frag);
}

__rust_helper u64 rust_helper_skb_head_phys(const struct sk_buff *skb)
{
	return virt_to_phys(skb->data);
}

__rust_helper int rust_helper_skb_linearize(struct sk_buff *skb)
{
	return skb_linearize(skb);
}

__rust_helper int rust_helper_skb_cow_head(struct sk_buff *skb, unsigned int headroom)
{
	return skb_cow_head(skb, headroom);
}

__rust_helper u32 rust_helper_skb_get_hash(struct sk_buff *skb)
{
	return skb_get_hash(skb);
}

/* What ethtool calls the flow that the frame is of, or 0. */
__rust_helper u32 rust_helper_skb_flow_kind(const struct sk_buff *skb)
{
	struct flow_keys keys;
	bool ip;

	if (!skb_flow_dissect_flow_keys(skb, &keys, 0))
		return 0;
	ip = keys.basic.n_proto == htons(ETH_P_IP);
	if (!ip && keys.basic.n_proto != htons(ETH_P_IPV6))
		return 0;
	switch (keys.basic.ip_proto) {
	case IPPROTO_TCP:
		return ip ? TCP_V4_FLOW : TCP_V6_FLOW;
	case IPPROTO_UDP:
		return ip ? UDP_V4_FLOW : UDP_V6_FLOW;
	default:
		return ip ? IPV4_FLOW : IPV6_FLOW;
	}
}

/* A hash of the addresses of a frame, or 0. */
__rust_helper u32 rust_helper_skb_address_hash(const struct sk_buff *skb)
{
	struct flow_keys keys;

	if (!skb_flow_dissect_flow_keys(skb, &keys, 0))
		return 0;
	memset(&keys.ports, 0, sizeof(keys.ports));
	return flow_hash_from_keys(&keys);
}

__rust_helper void rust_helper_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

/* Fields that the host fills in when it segments the frame. */
__rust_helper void rust_helper_skb_prepare_tso(struct sk_buff *skb)
{
	if (skb->protocol == htons(ETH_P_IP)) {
		struct iphdr *ip = ip_hdr(skb);

		ip->tot_len = 0;
		ip->check = 0;
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr,
							 0, IPPROTO_TCP, 0);
	} else {
		tcp_v6_gso_csum_prep(skb);
	}
}

/* The tag of a frame that carries it in its data becomes one beside it. */
__rust_helper int rust_helper_skb_vlan_untag_tx(struct sk_buff *skb, u16 *tci)
{
	int err;

	skb_reset_mac_header(skb);
	err = __skb_vlan_pop(skb, tci);
	if (!err)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), *tci);
	return err;
}

__rust_helper int rust_helper_skb_tailroom(const struct sk_buff *skb)
{
	return skb_tailroom(skb);
}

__rust_helper void rust_helper_skb_set_hash_l4(struct sk_buff *skb, u32 hash)
{
	skb_set_hash(skb, hash, PKT_HASH_TYPE_L4);
}

__rust_helper void rust_helper_skb_put_ctag(struct sk_buff *skb, u16 tci)
{
	__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tci);
}

__rust_helper void rust_helper_skb_record_rx_queue(struct sk_buff *skb, u16 queue)
{
	skb_record_rx_queue(skb, queue);
}

__rust_helper __sum16 rust_helper_ip_fast_csum(const void *iph, unsigned int ihl)
{
	return ip_fast_csum(iph, ihl);
}

#endif
