#!/bin/sh
# The guest's first process, run by busybox from the initrd. It loads modules, puts a writable layer over the
# host's read-only root, binds devices, runs one command in there and leaves its exit status on the share.
#
#   /share        the host folder that results go to (9p, writable)
#   /share/config MODULES (one a line, with parameters), BIND (PCI addresses for vfio-pci) and FOLDERS (tag and path,
#                 one a line: more folders of the host), as shell variables
#   /share/command.sh   what to run; sees the share as /run/userdma
#   EARLY_MODULES       from the kernel command line

PATH=/bin

stage() {
  read -r up _ </proc/uptime
  echo "userdma-vm: $up s: $1" >/dev/console
}

fail() {
  stage "failed: $1"
  poweroff -f
}

mount_9p() { # tag folder options
  mount -t 9p -o "trans=virtio,version=9p2000.L,msize=262144,$3" "$1" "$2" || fail "mount $2"
}

mount_writable() { # tag folder: what is written there stays in memory
  mkdir -p "/host/$1" "/layer/$1/upper" "/layer/$1/work"
  mount_9p "$1" "/host/$1" ro,cache=loose
  mount -t overlay -o "lowerdir=/host/$1,upperdir=/layer/$1/upper,workdir=/layer/$1/work" overlay "$2" ||
    fail "mount overlay $2"
}

bind_vfio() { # address
  device=/sys/bus/pci/devices/$1
  echo vfio-pci >"$device/driver_override"
  [ -e "$device/driver" ] && echo "$1" >"$device/driver/unbind"
  echo "$1" >/sys/bus/pci/drivers_probe
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
stage booted

for module in $EARLY_MODULES virtio_pci virtio_console 9pnet_virtio 9p overlay; do
  modprobe -q "$module"
done
mount_9p share /share cache=none
. /share/config
printf '%s\n' "$MODULES" | while read -r module; do
  [ -z "$module" ] || modprobe -q $module || stage "cannot load $module"
done
stage 'modules loaded'

mount -t tmpfs tmpfs /layer
mount_writable host /root
mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp
mount -t proc proc /root/proc
mount --rbind /sys /root/sys
mount --rbind /dev /root/dev
mount -t tmpfs tmpfs /root/run
mkdir /root/run/userdma
mount --bind /share /root/run/userdma
mkdir -p /root/lib/modules
mount --bind /lib/modules /root/lib/modules
printf '%s\n' "$FOLDERS" | while read -r tag path; do
  [ -z "$tag" ] && continue
  mkdir -p "/root$path"
  mount_writable "$tag" "/root$path"
done
ifconfig lo up
stage 'root mounted'

for address in $BIND; do
  bind_vfio "$address" 2>/dev/null || stage "cannot bind $address to vfio-pci"
done

for port in /sys/class/virtio-ports/*; do
  [ "$(cat "$port/name")" = userdma.output ] && output=/dev/${port##*/}
done
[ -n "$output" ] || fail 'no output port'

stage 'command started'
chroot /root /bin/sh /run/userdma/command.sh </dev/null >"$output" 2>&1
status=$?
echo "$status" >/share/status.new
mv /share/status.new /share/status
stage "command ended with status $status"
poweroff -f
