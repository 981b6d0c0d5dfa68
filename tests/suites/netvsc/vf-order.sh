# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 180
# tools: ethtool ping ip
# breaks-with: netvsc/functions.rs: a function that was there before its card is not looked for (seen)
#
# The virtual function is there before the driver; it goes to another network namespace with eth0; the
# host says more than once which it is. A device with another address, or in no slot, is nobody's.

. /hv/vf.sh
need_net
vf_begin
alive() { /tools/ping -n -q -c 2 -i 0.05 -W 2 $PEER >/dev/null; }
master() { readlink /sys/class/net/vf0/master; }

vf_plug 9
within 10 vf_path vf || fail "the path is not switched"
# Said again, and of another: nothing changes.
host nic0 vf say 1 9
host nic0 vf say 1 12
sleep 0.3
alive || fail "no answer after the host repeated itself"
vf_unplug

# A device of somebody else.
address=$vf_mac
vf_mac=00:15:5d:99:99:99
vf_plug 10
sleep 1
not master || fail "a device with another address became the function"
vf_path synthetic || fail "the path is switched for it"
vf_unplug
vf_mac=$address

# In a slot that has no number, and in none.
for slot in seven ''; do
	vf_device "$slot"
	sleep 0.3
	not master || fail "a device in the slot '$slot' became the function"
	rmmod hvrust_vf
done

# There before the driver.
host nic0 vf on 11
vf_device 11
within 10 vf_path vf || fail "the path is not switched"
rmmod hv_netvsc || fail "the driver does not go"
[ -e /sys/class/net/vf0 ] || fail "the function went with the driver"
not master || fail "the function is still enslaved"
modprobe hv_netvsc
within 20 [ -e /sys/class/net/eth0 ] || fail "eth0 does not come"
[ "$(basename "$(master)")" = eth0 ] || fail "the function that was there is not joined"
up >/dev/null || true
within 10 vf_path vf || fail "the path is not switched after the driver came back"
within 5 alive || fail "no answer after the driver came back"

# To another network namespace, and back.
unshare -n sleep 1000 &
space=$!
sleep 0.3
ip link set eth0 netns $space
within 10 nsenter -t $space -n [ -e /proc/self/net/dev_snmp6/vf0 ] ||
	within 5 sh -c "nsenter -t $space -n ip link show vf0" || fail "the function does not follow eth0"
nsenter -t $space -n ip link show vf0 | grep -q 'master eth0' || within 5 sh -c "nsenter -t $space -n /tools/ip link show vf0 | grep -q 'master eth0'" || fail "it is not eth0's any more"
nsenter -t $space -n ip link set eth0 netns 1
within 10 [ -e /sys/class/net/vf0 ] || fail "the function does not come back with eth0"
up >/dev/null || true
within 10 vf_path vf || fail "the path is not switched after coming back"
within 5 alive || fail "no answer after coming back"
kill $space
wait $space || true
vf_unplug
within 10 ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
vf_end
