// SPDX-License-Identifier: GPL-2.0
/*
 * A virtual function without a card, for tests: a PCI bus with one device, and a network
 * interface of that device. The other end of its cable is another interface of this machine,
 * "vfwire", which a test moves to a network namespace of its own.
 */

#include <linux/bpf.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/hex.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>

#define VF_VENDOR	0x1414
#define VF_DEVICE	0x7666
#define VF_DOMAIN	0x7666
#define VF_QUEUES	4

static char *slot = "1";
module_param(slot, charp, 0444);
MODULE_PARM_DESC(slot, "Name of the PCI slot, which is the serial number of the function; empty: none");

static char *mac = "00:15:5d:00:00:01";
module_param(mac, charp, 0444);
MODULE_PARM_DESC(mac, "Permanent address");

static bool fail_open;
module_param(fail_open, bool, 0644);
MODULE_PARM_DESC(fail_open, "The interface does not come up");

static bool fail_mtu;
module_param(fail_mtu, bool, 0644);
MODULE_PARM_DESC(fail_mtu, "The MTU cannot be changed");

static bool fail_mac;
module_param(fail_mac, bool, 0644);
MODULE_PARM_DESC(fail_mac, "The address cannot be changed");

static bool fail_xdp;
module_param(fail_xdp, bool, 0644);
MODULE_PARM_DESC(fail_xdp, "Programs are refused");

static bool has_program;
module_param(has_program, bool, 0444);
MODULE_PARM_DESC(has_program, "A program is there");

static bool carrier = true;
static struct net_device *vf_dev;
static struct net_device *wire_dev;
static struct pci_bus *vf_bus;
static struct pci_slot *vf_slot;

/* The interfaces: what one sends the other receives. */

struct vf_priv {
	struct net_device __rcu *peer;
	struct bpf_prog *prog;
	u32 speed;
};

static netdev_tx_t vf_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct vf_priv *priv = netdev_priv(dev);
	unsigned int len = skb->len;
	struct net_device *peer;

	rcu_read_lock();
	peer = rcu_dereference(priv->peer);
	skb_tx_timestamp(skb);
	skb_orphan(skb);
	if (!peer) {
		kfree_skb(skb);
		dev_core_stats_tx_dropped_inc(dev);
	} else if (dev_forward_skb(peer, skb) == NET_RX_SUCCESS) {
		dev_sw_netstats_tx_add(dev, 1, len);
		dev_sw_netstats_rx_add(peer, len);
	} else {
		dev_core_stats_tx_dropped_inc(dev);
	}
	rcu_read_unlock();
	return NETDEV_TX_OK;
}

static int vf_open(struct net_device *dev)
{
	if (dev->dev.parent && fail_open)
		return -EIO;
	if (carrier)
		netif_carrier_on(dev);
	netif_tx_start_all_queues(dev);
	return 0;
}

static int vf_stop(struct net_device *dev)
{
	netif_tx_disable(dev);
	netif_carrier_off(dev);
	return 0;
}

static int vf_change_mtu(struct net_device *dev, int mtu)
{
	if (dev->dev.parent && fail_mtu)
		return -EINVAL;
	WRITE_ONCE(dev->mtu, mtu);
	return 0;
}

static int vf_set_mac(struct net_device *dev, void *addr)
{
	if (dev->dev.parent && fail_mac)
		return -EPERM;
	return eth_mac_addr(dev, addr);
}

/* What it is told is on the lists that /proc shows. */
static void vf_set_rx_mode(struct net_device *dev)
{
}

static int vf_bpf(struct net_device *dev, struct netdev_bpf *bpf)
{
	struct vf_priv *priv = netdev_priv(dev);

	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	if (fail_xdp)
		return -EOPNOTSUPP;
	if (priv->prog)
		bpf_prog_put(priv->prog);
	priv->prog = bpf->prog;
	has_program = priv->prog;
	return 0;
}

static const struct net_device_ops vf_ops = {
	.ndo_open = vf_open,
	.ndo_stop = vf_stop,
	.ndo_start_xmit = vf_xmit,
	.ndo_change_mtu = vf_change_mtu,
	.ndo_set_mac_address = vf_set_mac,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_rx_mode = vf_set_rx_mode,
	.ndo_bpf = vf_bpf,
};

static int vf_get_link(struct net_device *dev, struct ethtool_link_ksettings *cmd)
{
	struct vf_priv *priv = netdev_priv(dev);

	cmd->base.speed = priv->speed;
	cmd->base.duplex = DUPLEX_FULL;
	cmd->base.port = PORT_FIBRE;
	return 0;
}

static int vf_set_link(struct net_device *dev, const struct ethtool_link_ksettings *cmd)
{
	struct vf_priv *priv = netdev_priv(dev);

	priv->speed = cmd->base.speed;
	return 0;
}

static const struct ethtool_ops vf_ethtool = {
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = vf_get_link,
	.set_link_ksettings = vf_set_link,
};

/* A cable that is pulled and put in again. */
static int set_carrier(const char *text, const struct kernel_param *param)
{
	int err = param_set_bool(text, param);

	if (err)
		return err;
	rtnl_lock();
	if (vf_dev && netif_running(vf_dev)) {
		if (carrier)
			netif_carrier_on(vf_dev);
		else
			netif_carrier_off(vf_dev);
	}
	rtnl_unlock();
	return 0;
}

static const struct kernel_param_ops carrier_ops = {
	.set = set_carrier,
	.get = param_get_bool,
};

module_param_cb(carrier, &carrier_ops, &carrier, 0644);
MODULE_PARM_DESC(carrier, "The cable is there");

static struct net_device *make(const char *name, struct device *parent)
{
	struct net_device *dev = alloc_etherdev_mq(sizeof(struct vf_priv), VF_QUEUES);
	struct vf_priv *priv;

	if (!dev)
		return NULL;
	priv = netdev_priv(dev);
	priv->speed = SPEED_40000;
	strscpy(dev->name, name);
	dev->netdev_ops = &vf_ops;
	dev->ethtool_ops = &vf_ethtool;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->priv_flags |= IFF_UNICAST_FLT;
	dev->max_mtu = ETH_MAX_MTU;
	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_HIGHDMA | NETIF_F_TSO |
			   NETIF_F_TSO6 | NETIF_F_RXCSUM;
	dev->features = dev->hw_features;
	dev->needed_headroom = 48;
	netif_set_tso_max_size(dev, 128 * 1024);
	SET_NETDEV_DEV(dev, parent);
	netif_carrier_off(dev);
	return dev;
}

static void vf_remove(struct pci_dev *pdev)
{
	struct vf_priv *vf = netdev_priv(vf_dev), *wire = netdev_priv(wire_dev);

	rtnl_lock();
	RCU_INIT_POINTER(vf->peer, NULL);
	RCU_INIT_POINTER(wire->peer, NULL);
	unregister_netdevice(vf_dev);
	unregister_netdevice(wire_dev);
	rtnl_unlock();
	if (vf->prog)
		bpf_prog_put(vf->prog);
	has_program = false;
	free_netdev(vf_dev);
	free_netdev(wire_dev);
	vf_dev = NULL;
	wire_dev = NULL;
}

static int vf_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vf_priv *vf, *wire;
	u8 addr[ETH_ALEN];
	int err = -ENOMEM;

	if (!mac_pton(mac, addr))
		return -EINVAL;
	wire_dev = make("vfwire", NULL);
	vf_dev = make("vf%d", &pdev->dev);
	if (!wire_dev || !vf_dev)
		goto free;
	eth_hw_addr_random(wire_dev);
	eth_hw_addr_set(vf_dev, addr);
	err = register_netdev(wire_dev);
	if (err)
		goto free;
	vf = netdev_priv(vf_dev);
	wire = netdev_priv(wire_dev);
	RCU_INIT_POINTER(vf->peer, wire_dev);
	RCU_INIT_POINTER(wire->peer, vf_dev);
	err = register_netdev(vf_dev);
	if (!err)
		return 0;
	RCU_INIT_POINTER(wire->peer, NULL);
	unregister_netdev(wire_dev);
free:
	if (vf_dev)
		free_netdev(vf_dev);
	if (wire_dev)
		free_netdev(wire_dev);
	vf_dev = NULL;
	wire_dev = NULL;
	return err;
}

static const struct pci_device_id vf_ids[] = {
	{ PCI_DEVICE(VF_VENDOR, VF_DEVICE) },
	{ }
};

static struct pci_driver vf_driver = {
	.name = "hvrust_vf",
	.id_table = vf_ids,
	.probe = vf_probe,
	.remove = vf_remove,
};

/* The bus: nothing but the first bytes of one device's configuration space. */

static const u32 config[] = {
	VF_DEVICE << 16 | VF_VENDOR,
	0,
	PCI_CLASS_NETWORK_ETHERNET << 16,
};

static int vf_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *value)
{
	u32 word = where / 4 < ARRAY_SIZE(config) ? config[where / 4] : 0;

	if (devfn)
		return PCIBIOS_DEVICE_NOT_FOUND;
	word >>= where % 4 * 8;
	*value = size == 4 ? word : word & ((1U << size * 8) - 1);
	return PCIBIOS_SUCCESSFUL;
}

static int vf_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 value)
{
	return devfn ? PCIBIOS_DEVICE_NOT_FOUND : PCIBIOS_SUCCESSFUL;
}

static struct pci_ops vf_bus_ops = {
	.read = vf_read,
	.write = vf_write,
};

static struct pci_sysdata vf_sysdata = {
	.domain = VF_DOMAIN,
	.node = NUMA_NO_NODE,
};

static int __init vf_init(void)
{
	LIST_HEAD(resources);
	int err = pci_register_driver(&vf_driver);

	if (err)
		return err;
	pci_lock_rescan_remove();
	vf_bus = pci_scan_root_bus(NULL, 0, &vf_bus_ops, &vf_sysdata, &resources);
	if (!vf_bus) {
		pci_unlock_rescan_remove();
		pci_unregister_driver(&vf_driver);
		return -ENOMEM;
	}
	if (*slot) {
		vf_slot = pci_create_slot(vf_bus, 0, slot, NULL);
		if (IS_ERR(vf_slot))
			vf_slot = NULL;
	}
	pci_bus_add_devices(vf_bus);
	pci_unlock_rescan_remove();
	return 0;
}

static void __exit vf_exit(void)
{
	struct pci_host_bridge *bridge = pci_find_host_bridge(vf_bus);

	pci_lock_rescan_remove();
	pci_stop_root_bus(vf_bus);
	if (vf_slot)
		pci_destroy_slot(vf_slot);
	pci_remove_root_bus(vf_bus);
	/* Whoever has made a root bus has this reference. */
	pci_free_host_bridge(bridge);
	pci_unlock_rescan_remove();
	pci_unregister_driver(&vf_driver);
}

module_init(vf_init);
module_exit(vf_exit);

MODULE_AUTHOR("The hvrust developers");
MODULE_DESCRIPTION("A virtual function for tests");
MODULE_LICENSE("GPL");
