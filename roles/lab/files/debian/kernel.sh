#!/bin/sh
# What the kernel of a plain Linux board shows and this machine's may not: clocks that a governor sets. Runs in the
# board's future root, as its file system is built.
set -eu

own=devices/system/cpu/cpufreq
mkdir -p usr/lib/cluster-kit/$own
mount -t overlay -o lowerdir=usr/lib/cluster-kit/devices:sys/devices devices sys/devices
mount -t tmpfs -o mode=0755,size=256k kernel sys/$own
show() { # a file of the one policy, and what it says
  echo "$2" >"sys/$own/policy0/$1"
}
mkdir sys/$own/policy0
show affected_cpus 0
show scaling_min_freq 600000
show scaling_max_freq 1800000
show scaling_available_governors "conservative ondemand userspace powersave performance schedutil"
show scaling_governor ondemand

# Another number for each boot, by which Ansible sees that a board has rebooted.
mkdir run/cluster-kit run/systemd run/systemd/system
cat proc/sys/kernel/random/uuid >run/cluster-kit/boot_id
mount -o bind,ro run/cluster-kit/boot_id proc/sys/kernel/random/boot_id

ln -s "$(command -v tini)" run/cluster-kit/systemd # the name that Ansible finds as process 1
