#!/bin/sh
# Starts a dressed board's services, and then only waits.
exec >/var/log/cluster-kit-boot.log 2>&1
attempt=0
while [ $attempt -lt 200 ] && ! ip -oneline -4 address show | grep -q eth0; do
  attempt=$((attempt + 1)) # when the board is new, the cable comes a moment later
  sleep 0.05
done
systemctl default
exec sleep infinity
