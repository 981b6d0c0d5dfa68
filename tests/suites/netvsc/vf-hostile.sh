# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 240
# tools: ethtool ping ip
# xfail-c: X7 killed
# breaks-with: netvsc/vf.rs: follow() looks only at what the host has confirmed (seen)
#
# The host does not say which function is the card's, does not confirm that it has switched the path,
# or does so late. Nobody waits until frames go by the function, a function that goes waits no longer
# than a minute, and frames have a path all the time. With TIMES > 1: a minute is when it gives up.

. /hv/vf.sh
need_net
vf_begin
alive() { /tools/ping -n -q -c 2 -i 0.05 -W 2 $PEER >/dev/null; }
says() { dmesg | grep -q "$1"; }

# Not said: nobody waits for it with a lock.
vf_device 7
within 10 says 'Waiting for the VF association' || fail "nobody misses what the host has not said"
began=$(date +%s)
ip link set lo mtu 65535
[ $(($(date +%s) - began)) -le 2 ] || fail "others wait for the host"
ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
host nic0 vf on 7
within 10 vf_path vf || fail "the path is not switched once the host has said it"
within 5 alive || fail "no answer by the function"
vf_unplug
dmesg -c >/dev/null

# Never confirmed: the synthetic path stays.
before=$(counter nic0.to_vf)
host nic0 vf lose 1
vf_plug 8
asked() { [ "$(counter nic0.to_vf)" -gt "$before" ]; }
within 10 asked || fail "the host is not asked for the function's path"
ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
began=$(date +%s)
ip link set lo mtu 65535
[ $(($(date +%s) - began)) -le 2 ] || fail "others wait for the host"
[ "$TIMES" = 1 ] || within 70 says 'Data path failed to switch to VF' || fail "nobody says that the path was not switched"
# The next reason to look at it makes it good, after a second.
sleep 1
echo 0 >/sys/module/hvrust_vf/parameters/carrier
echo 1 >/sys/module/hvrust_vf/parameters/carrier
within 10 says 'Data path switched to VF' || fail "the path is never switched"
within 5 alive || fail "no answer by the function"
# Nor that it is switched back.
host nic0 vf lose 1
dmesg -c >/dev/null
vf_unplug
says 'Data path failed to switch from VF' || fail "nobody says that the path was not switched back"
ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path after that"
dmesg -c >/dev/null

# Late: until then frames have the other path. The next reason to ask may have come by itself.
before=$(counter nic0.to_vf)
host nic0 vf late 1
vf_plug 9
within 10 asked || fail "the host is not asked for the function's path"
ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
host nic0 vf answer
within 10 says 'Data path switched to VF' || fail "the host's late answer is none"
within 5 alive || fail "no answer after the host's late one"
vf_unplug
# Done and never confirmed, until the function goes.
before=$(counter nic0.to_vf)
host nic0 vf lose 9
vf_plug 10
within 10 asked || fail "the host is not asked for the function's path"
host nic0 vf lose 0
vf_unplug
vf_path synthetic || fail "the host stays on a path that it took without saying so"
ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path at the end"

# About functions that there are not.
for n in $(seq 50); do
	host nic0 vf say $((n % 2)) "$n"
done
host nic0 vf say 1 4294967295
sleep 0.5
ping -c 1 -W 1 $PEER || fail "no answer after all that was said"
noise 1
send_file /tmp/noise
vf_end
