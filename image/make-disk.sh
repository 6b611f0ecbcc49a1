#!/bin/sh
# Makes the disk image. Runs as root in mount and pid namespaces of its own, so that a kill leaves nothing mounted.
#
# usage: make-disk.sh WORK BASE UUID [DEBS]
#   WORK  an empty folder; the result is WORK/alpine.qcow2.gz
#   BASE  disk image (qcow2) with an Alpine root of the same release: it has apk and Alpine's signing keys
#   UUID  of the root file system
#   DEBS  folder of Debian packages. Without it the whole system is installed from Alpine's mirror (ALPINE_MIRROR) by BASE's
#         apk; with it the root is BASE's, and the other packages are made from DEBS.
# Each line on stdout says what is being done.
set -eu

work=$1
base=$2
uuid=$3
debs=${4:-}
here=$(dirname "$(readlink -f "$0")")
release=v3.23
root=$work/root

# Makes $root a place where programs run: a kernel's view, the harmless devices, and image/ on /mnt.
enter() {
	mkdir -p "$root/proc" "$root/dev" "$root/mnt"
	mount -t proc proc "$root/proc"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	for node in null zero full random urandom; do
		: > "$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	ln -s /proc/self/fd "$root/dev/fd"
	mount -t tmpfs tmpfs "$root/mnt"
	cp -R "$here/." "$root/mnt"
}

leave() {
	umount -R "$root/dev" "$root/proc" "$root/mnt"
}

# copy_base DIR : unpacks the base image's files into DIR
copy_base() {
	qemu-img convert -O raw "$base" "$work/base.raw"
	mkdir "$work/base" "$1"
	mount -o loop,ro "$work/base.raw" "$work/base"
	cp -a "$work/base/." "$1"
	umount "$work/base"
	rm "$work/base.raw"
}

# Every file comes from the mirror, its signature checked by the base's apk with Alpine's keys.
install_from_mirror() {
	tools=$work/tools
	copy_base "$tools"
	mkdir -p "$root/etc/apk" "$root/etc/mkinitfs" "$tools/target"
	cp -R "$tools/etc/apk/keys" "$root/etc/apk/"
	printf '%s\n' "$ALPINE_MIRROR/$release/main" "$ALPINE_MIRROR/$release/community" > "$root/etc/apk/repositories"
	echo 'features="base ext4 virtio"' > "$root/etc/mkinitfs/mkinitfs.conf"
	mount --rbind "$root" "$tools/target"
	mount -t proc proc "$tools/proc"
	cp /etc/resolv.conf "$tools/etc/resolv.conf"
	chroot "$tools" apk --root /target --initdb --arch x86_64 --update-cache --no-progress add alpine-baselayout alpine-keys \
		alpine-release apk-tools busybox busybox-openrc ca-certificates linux-virt mkinitfs musl-utils openrc
	umount -R "$tools/proc" "$tools/target"
	rm -rf "$tools"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
}

make_file_system() {
	# A third more than what is there, at least 64 MiB: the droplet's disk is larger, and resize2fs takes the rest of it.
	used=$(du -sm --apparent-size "$root" | cut -f 1)
	size=$((used + used / 3 + 64))
	# Without 64bit the boot loader reads it; without metadata_csum too old a resize2fs can still grow it.
	mke2fs -q -t ext4 -b 4096 -I 256 -i 16384 -J size=32 -O '^64bit,^metadata_csum,^orphan_file' -E lazy_itable_init=0,lazy_journal_init=0 \
		-U "$uuid" -L alpine -d "$root" "$work/disk.raw" "${size}M" > /dev/null
	# The last twentieth is for root, and for nginx too: a site that fills the disk stops neither.
	tune2fs -g "$(sed -n 's/^nginx:x:\([0-9]*\):.*/\1/p' "$root/etc/group")" "$work/disk.raw" > /dev/null
}

install_boot_loader() {
	mkdir "$work/disk"
	mount -o loop "$work/disk.raw" "$work/disk"
	mount -t tmpfs tmpfs "$work/disk/dev"
	device=$(findmnt -n -o SOURCE "$work/disk")
	: > "$work/disk$device"
	mount --bind "$device" "$work/disk$device"
	mount -t proc proc "$work/disk/proc"
	chroot "$work/disk" extlinux --install /boot 2> /dev/null
	umount -R "$work/disk/proc" "$work/disk/dev"
	umount "$work/disk"
	# A file system that was mounted must be checked before resize2fs grows it while it is not.
	e2fsck -f -p "$work/disk.raw" > /dev/null
}

if [ -n "$debs" ]; then
	echo 'Unpacking Alpine'
	copy_base "$root"
	enter
	echo 'Making Alpine packages from Debian packages'
	"$here/make-packages.sh" "$debs" "$root"
	cp "$root/etc/apk/repositories" "$work/repositories"
	echo /var/cache/chillbox-packages/Packages.adb > "$root/etc/apk/repositories"
else
	echo "Installing Alpine from $ALPINE_MIRROR"
	mkdir "$root"
	enter
	install_from_mirror
	cp "$root/etc/apk/repositories" "$work/repositories"
fi
echo 'Installing packages and services'
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root ${http_proxy:+"http_proxy=$http_proxy"} \
	${https_proxy:+"https_proxy=$https_proxy"} ROOT_UUID="$uuid" /mnt/setup.sh
cp "$work/repositories" "$root/etc/apk/repositories"
chroot "$root" apk --no-network info -v 2> /dev/null | sort > "$work/packages.txt"
rm -rf "$root/var/cache/chillbox-packages"
leave
echo 'Making the file system'
make_file_system
rm -rf "$root"
echo 'Installing the boot loader'
install_boot_loader
echo 'Compressing'
qemu-img convert -O qcow2 "$work/disk.raw" "$work/alpine.qcow2"
rm "$work/disk.raw"
gzip -n -6 "$work/alpine.qcow2"
