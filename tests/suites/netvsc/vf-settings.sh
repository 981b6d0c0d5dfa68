# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 180
# tools: ethtool ping ip
# breaks-with: netvsc/vf.rs: the function keeps an address that the card could not take (seen)
#
# What is set of eth0 is set of its virtual function: MTU, address, flags, addresses listened to,
# the link, programs; what the function refuses is refused. Down and up again it follows.

. /hv/vf.sh
need_net
vf_begin
knob() { echo "$2" >"/sys/module/hvrust_vf/parameters/$1"; }
flag() { [ $(($(cat /sys/class/net/vf0/flags) & $1)) != 0 ]; }
mtu_of() { cat "/sys/class/net/$1/mtu"; }
dmesg_has() { dmesg | grep -q "$1"; }
alive() { /tools/ping -n -q -c 2 -i 0.05 -W 2 $PEER >/dev/null; }

ip link set eth0 mtu 1400
vf_plug 7
within 10 vf_path vf || fail "the path is not switched"
[ "$(mtu_of vf0)" = 1400 ] || fail "the function has an MTU of $(mtu_of vf0)"
alive || fail "no answer by the function"

# The MTU: both, or none. The host is told of the path again when the card was set up anew, or
# still knows; frames go by the function in any case.
ip link set eth0 mtu 4000 || fail "the MTU does not change"
[ "$(mtu_of vf0)$(mtu_of eth0)" = 40004000 ] || fail "the MTUs are $(mtu_of vf0) and $(mtu_of eth0)"
within 5 alive || fail "no answer with another MTU"
knob fail_mtu 1
not ip link set eth0 mtu 2000 2>/dev/null || fail "the MTU changes without that of the function"
knob fail_mtu 0
[ "$(mtu_of vf0)$(mtu_of eth0)" = 40004000 ] || fail "the MTUs are $(mtu_of vf0) and $(mtu_of eth0)"
ip link set eth0 mtu 1500
within 5 alive || fail "no answer with the first MTU"

# The address, which changes while the interface is down. The host may refuse it, and then the
# function has the old one.
ip link set eth0 down
other=00:15:5d:77:77:77
ip link set eth0 address $other || fail "the address does not change"
[ "$(cat /sys/class/net/vf0/address)" = $other ] || fail "the function has another address"
knob fail_mac 1
not ip link set eth0 address "$vf_mac" 2>/dev/null || fail "the address changes without that of the function"
knob fail_mac 0
[ "$(cat /sys/class/net/eth0/address)" = $other ] || fail "the address changed all the same"
host nic0 bad answer-status 1
not ip link set eth0 address "$vf_mac" 2>/dev/null || fail "the host refused the address, and it changed"
[ "$(cat /sys/class/net/vf0/address)" = $other ] || fail "the function does not have the old address again"
ip link set eth0 address "$vf_mac"
[ "$(cat /sys/class/net/vf0/address)" = "$vf_mac" ] || fail "the function does not have the first address"
ip link set eth0 address $other
up >/dev/null || true
within 10 alive || fail "no answer with another address"
ip link set eth0 down
ip link set eth0 address "$vf_mac"
up >/dev/null || true
within 10 vf_path vf || fail "the path is not switched with the first address"
# Who is behind the function has learnt the other address.
fresh() { /tools/ip neigh flush dev eth0 && alive; }
within 10 fresh || fail "no answer with the first address"

# Flags, and addresses that are listened to.
ip link set eth0 promisc on
within 5 flag 0x100 || fail "the function is not promiscuous"
ip link set eth0 promisc off
within 5 not flag 0x100 || fail "the function is still promiscuous"
/tools/ip link set eth0 allmulticast on
within 5 flag 0x200 || fail "the function does not listen to all groups"
/tools/ip link set eth0 allmulticast off
within 5 not flag 0x200 || fail "the function still listens to all groups"
group() { /tools/ip maddr show dev vf0 | grep -q 01:00:5e:01:02:03; }
/tools/ip maddr add 01:00:5e:01:02:03 dev eth0
within 5 group || fail "the function does not listen to a group of eth0"
/tools/ip maddr del 01:00:5e:01:02:03 dev eth0
within 5 not group || fail "the function still listens to the group"

# The link that is shown is the real one.
/tools/ethtool eth0 | grep -q 'Speed: 40000Mb/s' || fail "the link is not that of the function"
/tools/ethtool -s eth0 speed 25000 || fail "the link's speed cannot be set"
/tools/ethtool vf0 | grep -q 'Speed: 25000Mb/s' || fail "what was set is not the function's"
[ "$(/tools/ip -d link show eth0 | sed -n 's/.*tso_max_size \([0-9]*\).*/\1/p')" = 131072 ] || fail "segments are not those of the function"

# Programs.
/tools/ethtool -K eth0 lro off
/tools/ip -force link set dev eth0 xdp object /tools/xdp.o program pass || fail "a program does not load"
[ "$(cat /sys/module/hvrust_vf/parameters/has_program)" = Y ] || fail "the function has no program"
/tools/ip link set dev eth0 xdp off
[ "$(cat /sys/module/hvrust_vf/parameters/has_program)" = N ] || fail "the function still has a program"
knob fail_xdp 1
not /tools/ip -force link set dev eth0 xdp object /tools/xdp.o program pass 2>/tmp/reason || fail "a program came that the function refused"
grep -q 'vf_setxdp failed' /tmp/reason || fail "no reason is given: $(cat /tmp/reason)"
knob fail_xdp 0

# Down and up; the path goes with it.
ip link set eth0 down
not flag 1 || fail "the function is up without eth0"
vf_path synthetic || fail "the path is not switched back"
# What carries it while it is down is nothing.
up >/dev/null || true
within 10 flag 1 || fail "the function does not come up with eth0"
within 10 vf_path vf || fail "the path is not switched again"
within 5 alive || fail "no answer after coming up again"

# Without the cable frames go the other way, and come back with it.
knob carrier 0
within 10 ping -c 1 -W 1 $PEER || fail "no answer without the function's cable"
knob carrier 1
before=$(vf_figure rx_packets)
within 10 alive || fail "no answer with the function's cable"
[ "$(vf_figure rx_packets)" != "$before" ] || fail "nothing goes by the function after its cable came back"

# Its queues and features follow without harm.
/tools/ethtool -K eth0 tso off
/tools/ethtool -k vf0 | grep -q '^tcp-segmentation-offload: off' || fail "the function's features do not follow"
/tools/ethtool -K eth0 tso on
/tools/ethtool -G eth0 rx 5000
within 10 alive || fail "no answer after the rings changed"
vf_unplug
within 10 ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
noise 1
send_file /tmp/noise

# One that does not come up is not used, and does no harm.
vf_plug 8 fail_open=1
within 5 dmesg_has 'unable to open' || fail "nobody says that the function does not come up"
vf_path synthetic || fail "the path is switched to a function that is down"
ping -c 1 -W 1 $PEER || fail "no answer beside a function that is down"
vf_unplug
vf_end
