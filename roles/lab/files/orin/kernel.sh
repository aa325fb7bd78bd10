#!/bin/sh
# What an Orin's kernel shows and this machine's does not. Runs in the board's future root, as its
# file system is built.
set -eu

# /proc has no place for device-tree, which is a link to here on a board.
mount -t tmpfs -o mode=0755,size=64k firmware sys/firmware
mkdir -p sys/firmware/devicetree/base
mount --bind var/lib/cluster-kit/device-tree sys/firmware/devicetree/base

# What is merged into this kernel's devices and classes: the folder of the GPU, and clocks, sensors and counters in place
# of this machine's. As the kernel's they start again at each boot; the GPU's clock comes with its driver: see boot.sh.
own="devices/system/cpu/cpufreq class/devfreq class/hwmon class/thermal"
(cd usr/lib/cluster-kit && mkdir -p $own)
mount -t overlay -o lowerdir=usr/lib/cluster-kit/devices:sys/devices devices sys/devices
mount --bind var/lib/cluster-kit/gpu.0 sys/devices/gpu.0
mount -t overlay -o lowerdir=usr/lib/cluster-kit/class:sys/class class sys/class
for folder in $own; do
  mount -t tmpfs -o mode=0755,size=256k kernel "sys/$folder"
done
show() { # a file, and what it says
  mkdir -p "sys/${1%/*}"
  echo "$2" >"sys/$1"
}
for first in 0 4 8; do
  policy=devices/system/cpu/cpufreq/policy$first
  show $policy/affected_cpus "$first $((first + 1)) $((first + 2)) $((first + 3))"
  show $policy/scaling_min_freq 729600
  show $policy/scaling_max_freq 2201600
done
show class/hwmon/hwmon0/name pwmfan
show class/hwmon/hwmon3/name soctherm_oc
for alarm in 1 2 3; do # low voltage, mean power, peak power
  show class/hwmon/hwmon3/oc${alarm}_throt_en 1
  show class/hwmon/hwmon3/oc${alarm}_event_cnt 0
done
number=0
while read -r kind celsius; do
  show class/thermal/thermal_zone$number/type "$kind"
  show class/thermal/thermal_zone$number/temp "$celsius"
  number=$((number + 1))
done <<-END
	cpu-thermal 43500
	gpu-thermal 38125
	cv0-thermal -256000
	cv1-thermal
	tj-thermal 43500
	PMIC-Die 100000
	END
ln -sf /proc/self/mem sys/class/thermal/thermal_zone3/temp # EIO: nothing can be read at its beginning
number=0
for kind in pwm-fan cpu-throttle-alert gpu-throttle-alert; do
  show class/thermal/cooling_device$number/type $kind
  show class/thermal/cooling_device$number/cur_state 0
  number=$((number + 1))
done

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
