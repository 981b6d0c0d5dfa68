# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# kconfig: debug
# breaks-with: nothing was tried yet
#
# The five trace events of the card, with the fields that tools read.

need_net
mount -t tracefs tracefs /sys/kernel/tracing || fail "no tracefs"
t=/sys/kernel/tracing
[ "$(ls -d $t/events/netvsc/*/ | wc -l)" = 5 ] || fail "other events: $(ls $t/events/netvsc)"
echo >$t/trace
echo 1 >$t/events/netvsc/enable
# All kinds of messages: the card is set up anew.
ip link set eth0 mtu 1400
ip link set eth0 mtu 1500
need_net
ping -c 3 $PEER || fail "no answer"
echo 0 >$t/events/netvsc/enable
for line in \
	'rndis_send: dev=eth0 q=0 req=0x[0-9a-f]+ type=(QUERY|SET|INIT) msg_len=[1-9]' \
	'rndis_send: dev=eth0 q=0 req=0x[0-9a-f]+ type=HALT msg_len=12' \
	'rndis_recv: dev=eth0 q=0 req=0x[0-9a-f]+ type=PACKET msg_len=[1-9]' \
	'rndis_recv: dev=eth0 q=0 req=0x[0-9a-f]+ type=QUERY_C msg_len=[1-9]' \
	'nvsp_send: dev=eth0 type=INIT' \
	'nvsp_send: dev=eth0 type=SEND_RECV_BUF' \
	'nvsp_send_pkt: dev=eth0 qid=0 type=DATA section=[0-9]+ size=[1-9]' \
	'nvsp_send_pkt: dev=eth0 qid=0 type=CONTROL section=4294967295 size=0' \
	'nvsp_recv: dev=eth0 qid=0 type=SEND_RNDIS_PKT$' \
	'nvsp_recv: dev=eth0 qid=0 type=SEND_RNDIS_PKT_COMPLETE'; do
	grep -Eq "$line" $t/trace || fail "no $line"
done
umount $t
