# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 120
# soak: 5
# tools: ethtool ping ip
# breaks-with: netvsc/vf.rs: frames go by the function only if netpoll sends them (seen)
#
# A virtual function comes, carries everything that eth0 sends and receives, and goes again, while
# nothing is sent by the other path.

. /hv/vf.sh
need_net
vf_begin
says() { dmesg | grep -q "$1"; }
noise 4
# Frames may still come and go between two looks.
same_figures() {
	/tools/ethtool -S eth0 | awk '/ vf_tx_packets:/ { all = $2 } /cpu[0-9]*_vf_tx_packets:/ { sum += $2 } END { exit all != sum }'
}
for round in $(rounds 3); do
	sent=$(counter nic0.to_vf)
	vf_plug $((6 + round))
	within 10 vf_path vf || fail "the path is not switched: $(dmesg | tail -n 5)"
	[ "$(counter nic0.to_vf)" = $((sent + 1)) ] || fail "the host was told more than once"
	within 5 says 'Data path switched to VF: vf0' || fail "the log does not say so"
	[ "$(basename "$(readlink /sys/class/net/vf0/master)")" = eth0 ] || fail "vf0 is not enslaved"
	[ $(($(cat /sys/class/net/vf0/flags) & 0x800)) != 0 ] || fail "vf0 is no slave"
	[ -z "$(/tools/ip -6 addr show dev vf0)" ] || fail "vf0 has an address of its own"

	# Everything goes there and comes from there.
	there=$(vf_figure tx_bytes) back=$(vf_figure rx_bytes) off=$(counter nic0.tx_off_path)
	/tools/ping -n -q -c 5 -i 0.05 -W 2 $PEER >/tmp/ping.txt || fail "no answer: $(cat /tmp/ping.txt)"
	vf_send /tmp/noise
	vf_receive /tmp/noise
	there=$(($(vf_figure tx_bytes) - there)) back=$(($(vf_figure rx_bytes) - back))
	[ $there -gt $((4 << 20)) ] || fail "only $there bytes went by the function"
	[ $back -gt $((4 << 20)) ] || fail "only $back bytes came by the function"
	[ "$(counter nic0.tx_off_path)" = "$off" ] || fail "frames went by the other path"
	# The interface has counted them as its own.
	[ "$(cat /sys/class/net/eth0/statistics/tx_bytes)" -ge $there ] || fail "eth0 has not counted what was sent"
	[ "$(cat /sys/class/net/eth0/statistics/rx_bytes)" -ge $back ] || fail "eth0 has not counted what came"
	within 5 same_figures || fail "the processors have other figures than the card"

	before=$(counter nic0.to_synthetic)
	vf_unplug
	vf_path synthetic || fail "the path is not switched back"
	[ "$(counter nic0.to_synthetic)" = $((before + 1)) ] || fail "the host was told more than once"
	dmesg | grep -q 'Data path switched from VF: vf0' || fail "the log does not say so"
	within 5 ping -c 1 -W 1 $PEER || fail "no answer by the synthetic path"
	send_file /tmp/noise
	dmesg -c >/dev/null
done
receive_file
vf_end
