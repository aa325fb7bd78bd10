#!/bin/sh
# A stand-in for NetworkManager's nmcli on an emulated board: one connection, of eth0, with the few words that the kit
# needs. The MTU in its profile is kept and comes to nothing, as with an Orin's driver, for which the link is up by then.
profile=/var/lib/cluster-kit/mtu-in-profile
uuid=5f1a76c4-2c5b-3d4e-9d51-61e0a1b0a3a1
case "$*" in
  *"GENERAL.CON-UUID device show eth0") echo $uuid ;;
  *"802-3-ethernet.mtu connection show uuid $uuid") cat $profile 2>/dev/null || echo auto ;;
  "connection modify uuid $uuid 802-3-ethernet.mtu 0") rm -f $profile ;;
  "connection modify uuid $uuid 802-3-ethernet.mtu "*) echo "$6" >$profile ;;
  *)
    echo "Error: $*" >&2
    exit 2
    ;;
esac
