#!/bin/sh
# What a dressed board's power button is: runs COMMAND, the board's first boot, and once more whenever
# the board ended to reboot. Its network namespace is this script's and outlives a boot, so that the
# cable stays in; what a boot leaves in it is cleared, as a kernel that starts has none of it.
#
#   power.sh ADDRESS COMMAND...
set -u

address=$1
shift

while :; do
  "$@"
  [ $? -eq 143 ] || exit # of SIGTERM: the board's `shutdown` asks for a reboot so
  nft flush ruleset
  for family in '' 6; do
    ip${family}tables-legacy -F
    ip${family}tables-legacy -X
  done
  for device in /proc/sys/net/ipv4/conf/*; do
    case ${device##*/} in
      all | default | lo | eth0 | wlan0 | l4tbr0 | docker0) ;;
      *) ip link delete "${device##*/}" ;;
    esac
  done
  wireless=$(ip -oneline -4 address show dev wlan0 scope global | awk '{ print $4; exit }')
  ip -force -batch - <<-END
	link set eth0 down
	link set wlan0 down
	address flush dev eth0
	address flush dev wlan0
	link set eth0 mtu 1466
	link set wlan0 mtu 1500
	address add $address dev eth0
	address add $wireless dev wlan0
	link set eth0 up
	link set wlan0 up
	END
done
