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
  ip -force -batch - <<-END
	link set eth0 down
	address flush dev eth0
	link set eth0 mtu 1500
	address add $address dev eth0
	link set eth0 up
	END
done
