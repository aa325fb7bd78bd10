#!/bin/sh
# Pins the clocks of CPUs, GPU and memory, and checks those of CPUs and GPU: jetson_clocks exits with 0 in most
# failures, and at boot it may run before the GPU's driver. Prints the clocks that are not pinned.
set -u

unpinned() {
  gpu=
  for folder in /sys/devices/system/cpu/cpufreq/policy* /sys/class/devfreq/*; do
    prefix=
    case $folder in
      */policy*)
        prefix=scaling_
        [ -n "$(cat "$folder/affected_cpus" 2>/dev/null)" ] || continue # its CPUs are off
        ;;
      *.ga10b | *.gv11b | *.gpu) gpu=$folder ;;
      *) continue ;; # of another engine, which training does not use
    esac
    low=$(cat "$folder/${prefix}min_freq" 2>/dev/null)
    high=$(cat "$folder/${prefix}max_freq" 2>/dev/null)
    [ -n "$low" ] && [ "$low" = "$high" ] || printf '%s (%s to %s) ' "${folder##*/}" "$low" "$high"
  done
  [ -n "$gpu" ] || printf 'the GPU, whose driver is not there '
}

attempt=0
while [ $attempt -lt 30 ]; do
  /usr/bin/jetson_clocks
  left=$(unpinned)
  [ -n "$left" ] || exit 0
  attempt=$((attempt + 1))
  sleep 1
done
echo "jetson_clocks does not pin ${left% }" >&2
exit 1
