// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/netpoll.h>
#include <linux/pci.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>
#include <net/netdev_lock.h>
#include <net/sch_generic.h>

#ifdef CONFIG_NET

__rust_helper void rust_helper_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

__rust_helper void rust_helper_dev_put(struct net_device *dev)
{
	dev_put(dev);
}

__rust_helper void rust_helper_netdev_lockdep_set_classes(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
}

/* Whether it is an Ethernet device that is not made of others. */
__rust_helper bool rust_helper_netdev_is_plain_ethernet(const struct net_device *dev)
{
	return dev->type == ARPHRD_ETHER && dev->addr_len == ETH_ALEN &&
	       !is_vlan_dev(dev) && !netif_is_bond_master(dev);
}

/* The name of the PCI slot that the device's function is in, as a number. */
__rust_helper int rust_helper_netdev_pci_slot(const struct net_device *dev, u32 *number)
{
#ifdef CONFIG_PCI
	struct device *parent = dev->dev.parent;
	struct pci_slot *slot;

	if (!parent || !dev_is_pci(parent))
		return -ENODEV;
	slot = to_pci_dev(parent)->slot;
	if (!slot)
		return -ENXIO;
	return kstrtou32(pci_slot_name(slot), 10, number) ? -EINVAL : 0;
#else
	return -ENODEV;
#endif
}

/* Before it is registered: it will be another device's, and has no addresses of its own. */
__rust_helper void rust_helper_netdev_mark_slave(struct net_device *dev)
{
	dev->flags |= IFF_SLAVE;
	dev->priv_flags |= IFF_NO_ADDRCONF;
}

__rust_helper bool rust_helper_netdev_same_ns(const struct net_device *one,
					      const struct net_device *other)
{
	return net_eq(dev_net(one), dev_net(other));
}

__rust_helper int rust_helper_netdev_move_ns(struct net_device *dev,
					     const struct net_device *to)
{
	return dev_change_net_namespace(dev, dev_net(to), "eth%d");
}

/* The device that follows in the same namespace, or the first one of it. */
__rust_helper struct net_device *rust_helper_netdev_next(struct net_device *dev)
{
	return next_net_device(dev);
}

__rust_helper struct net_device *rust_helper_netdev_first(const struct net_device *dev)
{
	return first_net_device(dev_net(dev));
}

__rust_helper void rust_helper_netdev_want_features(struct net_device *dev,
						    netdev_features_t features)
{
	netdev_lock_ops(dev);
	dev->wanted_features = features;
	netdev_update_features(dev);
	netdev_unlock_ops(dev);
}

/* A reference to the program is the device's if this succeeds. */
__rust_helper int rust_helper_netdev_propagate_xdp(struct net_device *dev, struct bpf_prog *prog)
{
	struct netdev_bpf bpf = { .command = XDP_SETUP_PROG, .prog = prog };
	int err;

	netdev_lock_ops(dev);
	err = netif_xdp_propagate(dev, &bpf);
	netdev_unlock_ops(dev);
	return err;
}

/* Addresses that the upper device listens to, the lower one listens to as well, or not any more. */
__rust_helper void rust_helper_netdev_sync_addresses(struct net_device *lower,
						     struct net_device *upper)
{
	netif_addr_lock_bh(upper);
	dev_uc_sync(lower, upper);
	dev_mc_sync(lower, upper);
	netif_addr_unlock_bh(upper);
}

__rust_helper int rust_helper_netdev_set_link_ksettings(struct net_device *dev,
							const struct ethtool_link_ksettings *cmd)
{
	int err = -EOPNOTSUPP;

	netdev_lock_ops(dev);
	if (!netif_device_present(dev))
		err = -ENODEV;
	else if (dev->ethtool_ops->set_link_ksettings)
		err = dev->ethtool_ops->set_link_ksettings(dev, cmd);
	netdev_unlock_ops(dev);
	return err;
}

__rust_helper bool rust_helper_netpoll_tx_running(struct net_device *dev)
{
	return netpoll_tx_running(dev);
}

/* Frames that pass through */

__rust_helper struct sk_buff *rust_helper_skb_share_check(struct sk_buff *skb, gfp_t gfp)
{
	return skb_share_check(skb, gfp);
}

/* The queue that a lower device would choose; the frame remembers it. */
__rust_helper u16 rust_helper_skb_pick_lower(struct net_device *lower, struct sk_buff *skb)
{
	const struct net_device_ops *ops = lower->netdev_ops;
	u16 queue;

	if (ops->ndo_select_queue)
		queue = ops->ndo_select_queue(lower, skb, NULL);
	else
		queue = netdev_pick_tx(lower, skb, NULL);
	qdisc_skb_cb(skb)->slave_dev_queue_mapping = queue;
	return queue;
}

/* Sends a frame by a lower device: on the queue that was picked, or on any. */
__rust_helper int rust_helper_skb_xmit_lower(struct net_device *lower, struct sk_buff *skb,
					     bool picked)
{
	skb->dev = lower;
	if (picked)
		skb_record_rx_queue(skb, qdisc_skb_cb(skb)->slave_dev_queue_mapping);
	else
		skb_set_queue_mapping(skb, 0);
	return dev_queue_xmit(skb);
}

#endif
