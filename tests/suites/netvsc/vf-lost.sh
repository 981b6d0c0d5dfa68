# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# soak: 2
# tools: ethtool ping ip
# xfail-c: X7 killed|it takes
# breaks-with: netvsc/attached.rs: in_flight() counts questions for a path (seen)
#
# The host never answers when it is asked for another path (X7). Nothing waits for that answer
# afterwards: the card goes down and up and is set up anew as quickly as before, and frames have a
# path. Answers that come late are welcome. In a soak there are many reasons to ask: so many questions
# that frames have no place any more are not asked.

. /hv/vf.sh
need_net
vf_begin
noise 1
says() { dmesg | grep -q "$1"; }
asked() { [ "$(counter nic0.to_vf)" -gt "$before" ]; }
quick() { # COMMAND...
	local began took
	began=$(date +%s)
	"$@" || fail "$*"
	took=$(($(date +%s) - began))
	[ $took -le $((5 * ${SLOW:-1})) ] || fail "$*: it takes $took s"
}
plug_lost() { # SERIAL: a function for whose path the host is asked in vain
	dmesg -c >/dev/null
	before=$(counter nic0.to_vf)
	host nic0 vf lose 1
	vf_plug "$1"
	within 10 asked || fail "the host is not asked for the path of $1"
	need_net
	send_file /tmp/noise
	receive_little
}
switched() { # SERIAL: after all
	within 10 says 'Data path switched to VF' || fail "the path of $1 is never switched"
	within 5 /tools/ping -n -q -c 2 -i 0.05 -W 2 $PEER || fail "no answer by $1"
}

plug_lost 8
quick ip link set eth0 down
quick ip link set eth0 up
up || true
switched 8
vf_unplug
plug_lost 9
quick ip link set eth0 mtu 1400
switched 9
quick ip link set eth0 mtu 1500
dmesg | grep 'not empty' && fail "something waited for an answer that does not come"
vf_unplug

# Who asks and asks.
dmesg -c >/dev/null
before=$(counter nic0.to_vf)
host nic0 vf late 1000
vf_plug 10
[ "$TIMES" = 1 ] && flaps=2 || flaps=20
for n in $(seq $flaps); do
	sleep 1
	echo 0 >/sys/module/hvrust_vf/parameters/carrier
	echo 1 >/sys/module/hvrust_vf/parameters/carrier
done
within 5 asked
asked=$(($(counter nic0.to_vf) - before))
[ $asked -ge 2 ] || fail "the host was asked $asked times, though there were reasons"
[ $asked -le 16 ] || fail "the host was asked $asked times, and answers nothing"
need_net
send_file /tmp/noise
receive_little
host nic0 vf late 0
host nic0 vf answer
switched 10
vf_unplug
vf_path synthetic || fail "the path is not switched back"
need_net
receive_little
vf_end
