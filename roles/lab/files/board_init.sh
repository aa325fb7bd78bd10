#!/bin/sh
# The first process of an emulated board, in new namespaces: builds the board's file system, makes it the root, and
# waits. All mounts are in its own mount namespace and end with it.
#
#   board_init.sh NAME CAPABILITIES DRESS [SOURCE TARGET]...
#
# Runs in the board's folder, which holds upper/, work/ and root/. Each SOURCE folder of this machine
# is mounted read-only at TARGET. CAPABILITIES are dropped, in setpriv's syntax.
# DRESS is the folder of a dress, or empty: its kernel.sh adds what a dressed board's kernel shows.
set -eu

name=$1
capabilities=$2
dress=$3
shift 3

echo "$name" >/proc/sys/kernel/hostname

mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work board root
cd root

mount -t tmpfs -o mode=0755,nosuid,size=1m dev dev
for device in null zero full random urandom tty; do
  : >"dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,mode=0620,ptmxmode=0666,nosuid,noexec devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

mount -t tmpfs -o mode=0755,nosuid,nodev run run
mount -t tmpfs -o mode=1777,nosuid,nodev tmp tmp
mkdir run/sshd run/lock run/old

# The kernel is shared with this machine: a board may only change its own network's settings.
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t proc -o nosuid,nodev,noexec proc proc
mount -o bind,ro proc/sys proc/sys
mount --bind /proc/sys/net proc/sys/net
if [ -e proc/sysrq-trigger ]; then
  mount -o bind,ro proc/sysrq-trigger proc/sysrq-trigger
fi

while [ $# -gt 0 ]; do
  mkdir -p ".$2" # the layer has the folder, unless it is below /tmp
  mount -o bind,ro,nosuid "$1" ".$2"
  shift 2
done

if [ -n "$dress" ]; then
  sh "$dress/kernel.sh"
fi

pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old

if [ -n "$dress" ]; then
  exec setpriv "--bounding-set=$capabilities" /run/cluster-kit/systemd -s -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh /usr/lib/cluster-kit/boot.sh >/dev/null 2>&1
fi
exec setpriv "--bounding-set=$capabilities" tini -s -- sleep infinity >/dev/null 2>&1
