#!/bin/sh
# What an Orin's kernel shows and this machine's does not. Runs in the board's future root, as its
# file system is built.
set -eu

# /proc has no place for device-tree, which is a link to here on a board.
mount -t tmpfs -o mode=0755,size=64k firmware sys/firmware
mkdir -p sys/firmware/devicetree/base
mount --bind var/lib/cluster-kit/device-tree sys/firmware/devicetree/base

# The folder of the GPU, merged into this kernel's devices.
mount -t overlay -o lowerdir=usr/lib/cluster-kit/devices:sys/devices devices sys/devices
mount --bind var/lib/cluster-kit/gpu.0 sys/devices/gpu.0

# Interfaces, with a speed as of a 1 Gbit/s switch, which a virtual cable lacks, one without wires, and bridges.
mount -t tmpfs -o mode=0755,size=256k interfaces sys/class/net
for interface in eth0 wlan0 l4tbr0 docker0; do
  mkdir "sys/class/net/$interface"
  for attribute in sys/devices/virtual/net/lo/*; do
    attribute=${attribute##*/}
    case $attribute in
      speed | duplex) ;;
      *) ln -s "../../../devices/virtual/net/$interface/$attribute" "sys/class/net/$interface/$attribute" ;;
    esac
  done
done
rm sys/class/net/eth0/addr_assign_type
echo 0 >sys/class/net/eth0/addr_assign_type # its address is its own
ln -s ../../devices/virtual/net/lo sys/class/net/lo
echo 1000 >sys/class/net/eth0/speed
echo full >sys/class/net/eth0/duplex
mkdir sys/class/net/wlan0/wireless

# Another number for each boot, by which Ansible sees that a board has rebooted.
mkdir run/cluster-kit run/systemd run/systemd/system
cat proc/sys/kernel/random/uuid >run/cluster-kit/boot_id
mount -o bind,ro run/cluster-kit/boot_id proc/sys/kernel/random/boot_id

ln -s "$(command -v tini)" run/cluster-kit/systemd # the name that Ansible finds as process 1
