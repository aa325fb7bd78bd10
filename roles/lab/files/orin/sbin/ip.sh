#!/bin/sh
# A stand-in for ip on an emulated board, whose eth0 changes its MTU as an Orin's does: not while the link is up, and by
# keeping 34 bytes of it for MACsec. All else is the real ip.
mtu='' eth0='' before=''
for word; do
  case $before in mtu) mtu=$word ;; esac
  case $word in eth0) eth0=yes ;; esac
  before=$word
done
if [ -z "$eth0" ] || [ -z "$mtu" ]; then
  exec /bin/ip "$@"
fi
if [ $(($(cat /sys/class/net/eth0/flags) & 1)) -eq 1 ]; then # IFF_UP
  echo 'RTNETLINK answers: Device or resource busy' >&2
  exit 2
fi
/bin/ip "$@" && exec /bin/ip link set dev eth0 mtu $((mtu - 34))
