#!/bin/sh
# Makes a signed Alpine package repository of Debian packages, by the recipes in packages/.
#
# usage: make-packages.sh DEBS ROOT
#   DEBS  folder of .deb files: those that the recipes name, and all that these depend on
#   ROOT  root of the Alpine system that will use the packages; its own apk makes them, /proc is mounted in it
#
# Leaves ROOT/var/cache/chillbox-packages/ (packages and Packages.adb) and the public half of the signing key in
# ROOT/etc/apk/keys. The private half is made here and removed again.
set -eu

debs=$1
root=$2
here=$(dirname "$(readlink -f "$0")")
out=/var/cache/chillbox-packages
work=$root$out/work

# Left out of every package: the image is small, nobody reads manuals on it, and Alpine has its own init and log rotation.
unwanted='
./usr/share/doc ./usr/share/man ./usr/share/locale ./usr/share/lintian ./usr/share/bash-completion ./usr/share/zsh
./usr/share/apport ./usr/share/bug ./usr/share/dbus-1 ./usr/share/debconf ./usr/share/polkit-1 ./usr/share/initramfs-tools
./usr/share/gdb ./usr/share/doc-base ./usr/share/applications ./usr/share/pixmaps ./usr/share/vim ./usr/share/perl5
./usr/lib/systemd ./usr/lib/lsb ./usr/lib/tmpfiles.d ./usr/lib/sysusers.d ./usr/lib/networkd-dispatcher ./usr/lib/NetworkManager
./usr/lib/x86_64-linux-gnu/gconv ./usr/lib/udev ./usr/lib/runit-helper ./usr/lib/pcrlock.d ./usr/lib/init ./etc/systemd ./etc/init.d ./etc/default
./etc/runit ./etc/sv ./etc/apparmor.d ./etc/ufw ./etc/insserv.conf.d ./etc/dhcp ./etc/ppp ./etc/NetworkManager ./etc/kernel
./etc/nginx/sites-available ./etc/nginx/sites-enabled ./etc/nginx/nginx.conf ./etc/nginx/snippets ./etc/nginx/modules-available
./etc/nginx/modules-enabled ./etc/nftables.conf ./etc/logrotate.d ./etc/cron.daily ./etc/pam.d ./etc/security ./etc/chrony/chrony.conf
./usr/lib/syslinux/modules/efi32 ./usr/lib/syslinux/modules/efi64 ./usr/lib/syslinux/memdisk ./usr/lib/syslinux/mbr
./usr/lib/openssh/ssh-keysign ./usr/lib/openssh/ssh-pkcs11-helper ./usr/lib/openssh/ssh-sk-helper
./var/www ./var/log/runit ./usr/share/nginx'

# unpack PACKAGE... : unpacks these Debian packages into the folder $files
unpack() {
	for package do
		set -- "$debs/${package}"_*.deb
		[ -f "$1" ] || { echo "No Debian package $package in $debs: look at the lists in image/packages/." >&2; exit 1; }
		dpkg-deb --fsys-tarfile "$1" | tar -x -C "$files" --exclude-from="$work/unwanted"
	done
}

# Names of all library packages that no recipe names and that are not left out.
libraries() {
	for deb in "$debs"/lib*.deb "$debs"/zlib1g_*.deb; do
		package=${deb##*/}
		package=${package%%_*}
		grep -qxF "$package" "$work/named" || echo "$package"
	done
}

# Alpine's own files win: what is there already must not be in a package.
drop_owned() {
	(cd "$files" && find . ! -type d) | while read -r path; do
		if [ -e "$root/$path" ] || [ -L "$root/$path" ]; then rm "$files/$path"; fi
	done
}

# version DEB : its upstream number as apk accepts it, such as 1.26.3-r0
version() {
	number=$(dpkg-deb --field "$1" Version | sed 's/^[0-9]*://; s/^\([0-9][0-9]*\(\.[0-9][0-9]*\)*\).*/\1/')
	echo "$number-r0"
}

# make_package NAME : the recipe's apk package in $out
make_package() {
	name=$1
	recipe=$here/packages/$name
	files=$work/$name
	mkdir -p "$files"
	depends='glibc-libs'
	number=1-r0
	if [ "$name" = glibc-libs ]; then
		depends=
		# shellcheck disable=SC2046
		unpack $(libraries)
		number=$(version "$debs"/libc6_*.deb)
	elif [ -s "$recipe/debian" ]; then
		# shellcheck disable=SC2046
		unpack $(cat "$recipe/debian")
		number=$(version "$debs/$(head -n 1 "$recipe/debian")"_*.deb)
	fi
	if [ "$name" = execline ]; then link_execline; fi
	if [ -d "$recipe/root" ]; then cp -R --preserve=mode "$recipe/root/." "$files"; fi
	if [ -f "$recipe/links" ]; then
		while read -r path target; do
			mkdir -p "$files${path%/*}"
			ln -s "$target" "$files$path"
		done < "$recipe/links"
	fi
	drop_owned
	find "$files" -depth -mindepth 1 -type d -empty -path '*/usr/*' -delete
	set -- --info "name:$name" --info "version:$number" --info arch:x86_64 --info license:various --info origin:chillbox \
		--info "description:$name from Debian 13's packages"
	if [ -n "$depends" ]; then set -- "$@" --info "depends:$depends"; fi
	if [ -f "$recipe/post-install" ]; then
		cp "$recipe/post-install" "$work/post-install"
		set -- "$@" --script "post-install:$out/work/post-install"
	fi
	chroot "$root" apk --no-network mkpkg --compression none --sign-key "$out/work/key.pem" \
		--files "$out/work/$name" --output "$out/$name-$number.apk" "$@"
	rm -rf "$files"
}

# Alpine has execline's commands in /usr/bin; Debian hides them in a folder and puts a wrapper for it on PATH.
link_execline() {
	rm "$files/usr/bin/execlineb"
	for command in "$files"/usr/lib/execline/bin/*; do
		command=${command##*/}
		ln -s "../lib/execline/bin/$command" "$files/usr/bin/$command"
	done
}

mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
for path in $unwanted; do echo "$path"; done > "$work/unwanted"
cat "$here"/packages/*/debian "$here/packages/glibc-libs/leave-out" > "$work/named"
(umask 077 && openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/key.pem" 2> /dev/null)
openssl pkey -in "$work/key.pem" -pubout -out "$root/etc/apk/keys/chillbox-packages.rsa.pub"

for recipe in "$here"/packages/*/; do
	make_package "$(basename "$recipe")"
done
chroot "$root" sh -c "cd $out && apk --no-network mkndx --sign-key work/key.pem --output Packages.adb *.apk" > /dev/null
