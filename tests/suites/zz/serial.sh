# vcpus: 1
# timeout: 60
# tools: iperf3
# breaks-with: x

need_net
host counters >/dev/null
for i in $(seq 50); do host counters >/dev/null; done
note "idle ok"
/tools/iperf3 -c $PEER -t 20 >/dev/null 2>&1 &
for i in $(seq 50); do host counters >/dev/null; [ $((i % 10)) != 0 ] || note $i; done
