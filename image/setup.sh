#!/bin/sh
# Makes chillbox's server image of a bare Alpine. Runs as root inside the new root (chroot), where apk's repositories are already
# set; the same for every base. Needs no network but apk's, leaves no secret and no host key, and can be repeated.
#
# environment: ROOT_UUID  UUID of the root file system, for the boot loader and fstab
set -eu

here=$(dirname "$(readlink -f "$0")")

packages='
busybox-mdev-openrc ca-certificates chrony cloud-utils-growpart curl doas e2fsprogs-extra execline jq logrotate nftables nginx
openssh openssl python3 redis s6 sqlite syslinux uacme'

install_packages() {
	# shellcheck disable=SC2086
	apk add --quiet --no-progress $packages
	# The image is for one purpose: no second way to become root, no second DHCP client.
	for package in sudo dhcpcd openssh-server-pam; do
		if apk info --quiet --installed "$package"; then apk del --quiet --no-progress "$package"; fi
	done
}

remove_leftovers() {
	rc-update --quiet --all del quicksand-guest-agent 2> /dev/null || true
	rc-update --quiet --all del setup-dns 2> /dev/null || true
	if grep -q '^quicksand:' /etc/passwd; then deluser --remove-home quicksand; fi
	if grep -q '^dhcpcd:' /etc/passwd; then deluser dhcpcd; fi
	rm -rf /etc/init.d/quicksand-guest-agent /etc/init.d/setup-dns /etc/resolv.conf.quicksand /usr/local/bin/quicksand-guest-agent \
		/.dockerenv /etc/sudoers /etc/sudoers.d /etc/modules-load.d/quicksand.conf /etc/dhcpcd.conf
	sed -i '/^9p/d' /etc/modules
}

install_files() {
	cp -R "$here/files/." /
	(cd "$here/files" && find . -type f) | while read -r file; do
		mode=0644
		if [ -x "$here/files/$file" ]; then mode=0755; fi
		chown root:root "/$file"
		chmod "$mode" "/$file"
	done
	install -d -m 0700 /root /etc/chillbox/host-key /var/lib/chillbox
	install -d -m 0755 /etc/chillbox
}

configure_accounts() {
	# '*' is no password that could match, yet lets keys in; '!' would lock keys out too.
	sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
	rm -rf /root/.ssh
}

configure_openrc() {
	# OpenRC finds out by itself whether it is in a container (container=lxc in init's environment) or on a real machine.
	sed -i -e '/^rc_sys=/d' -e '/^rc_parallel=/d' -e '/^rc_tty_number=/d' -e '/^rc_controller_cgroups=/d' /etc/rc.conf
	cat >> /etc/rc.conf <<- 'RC'
		rc_parallel="YES"
		rc_controller_cgroups="NO"
	RC
	# What a container has no use for says so itself (keyword -lxc) and is left out there.
	run_at sysinit cgroups devfs dmesg hwdrivers mdev
	run_at boot bootmisc chillbox-metadata-wall fsck hostname hwclock loopback localmount modules networking root seedrng swap sysctl syslog
	run_at default acpid chillbox-firstboot chronyd crond sshd
	run_at shutdown killprocs mount-ro savecache
}

# run_at RUNLEVEL SERVICE... : exactly these services are in the runlevel
run_at() {
	runlevel=$1
	shift
	mkdir -p "/etc/runlevels/$runlevel"
	find "/etc/runlevels/$runlevel" -mindepth 1 -delete
	for service do rc-update --quiet add "$service" "$runlevel"; done
}

configure_boot() {
	printf 'UUID=%s / ext4 rw,relatime 0 1\n' "$ROOT_UUID" > /etc/fstab
	cat > /boot/extlinux.conf <<- BOOT
		DEFAULT alpine
		PROMPT 0
		TIMEOUT 1
		SERIAL 0 115200
		LABEL alpine
		  LINUX vmlinuz-virt
		  INITRD initramfs-virt
		  APPEND root=UUID=$ROOT_UUID rootfstype=ext4 modules=ext4,virtio_blk,virtio_pci,virtio_net,virtio_scsi console=tty0 console=ttyS0,115200 quiet
	BOOT
	if [ -f /etc/update-extlinux.conf ]; then
		# Alpine's package writes extlinux.conf anew after each kernel update, from this file.
		sed -i -e "s|^root=.*|root=UUID=$ROOT_UUID|" -e 's|^modules=.*|modules=ext4,virtio_blk,virtio_pci,virtio_net,virtio_scsi|' \
			-e 's|^default_kernel_opts=.*|default_kernel_opts="rootfstype=ext4 console=tty0 console=ttyS0,115200 quiet"|' \
			-e 's|^timeout=.*|timeout=1|' -e 's|^serial_port=.*|serial_port=0|' /etc/update-extlinux.conf
	fi
}

# Whatever would be the same on every server made of this image.
remove_identity() {
	rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/resolv.conf /var/lib/seedrng/* /var/lib/misc/*
	: > /etc/machine-id
	echo localhost > /etc/hostname
	# "localhost" is IPv4 alone: a site's ports are held on 127.0.0.1, and ::1 could be anybody's.
	printf '127.0.0.1\tlocalhost localhost.localdomain\n::1\t\tip6-localhost ip6-loopback\n' > /etc/hosts
	find /var/log /var/cache/apk /tmp /run -mindepth 1 -type f -delete
	rm -f /etc/passwd- /etc/group- /etc/shadow-
}

install_packages
remove_leftovers
install_files
configure_accounts
configure_openrc
configure_boot
remove_identity
