/** A Debian package that chillbox needs, known by a program that it brings: where another distribution has the program, that will do. */
export interface DebianPackage {
  readonly name: string;
  /** A program of it, or the absolute path of a file. */
  readonly brings: string;
  readonly why: string;
}

/** What `npm run up` needs. */
export const packagesToRun: readonly DebianPackage[] = [
  { name: "util-linux", brings: "unshare", why: "namespaces of the droplets, locks" },
  { name: "iproute2", brings: "ip", why: "the droplets' network" },
  { name: "nftables", brings: "nft", why: "cloud firewalls and address translation" },
  { name: "dnsmasq-base", brings: "dnsmasq", why: "DHCP and DNS of the droplets' network" },
  { name: "e2fsprogs", brings: "mkfs.ext4", why: "the image's file system and the droplets' disks" },
  { name: "qemu-utils", brings: "qemu-img", why: "disk images that come as qcow2" },
  { name: "openssh-client", brings: "ssh", why: "Ansible's way to the server" },
  { name: "openssl", brings: "openssl", why: "signing the image's packages" },
  { name: "jq", brings: "jq", why: "JSON in shell" },
  { name: "make", brings: "make", why: "each site's own Makefile builds its release" },
  { name: "python3-venv", brings: "python3", why: "virtual environments for Ansible" },
  { name: "ca-certificates", brings: "/etc/ssl/certs/ca-certificates.crt", why: "verifying the package indexes" },
  { name: "curl", brings: "curl", why: "requests in shell" },
  { name: "mount", brings: "losetup", why: "droplets' disks" },
  { name: "bzip2", brings: "bzip2", why: "disk images that come compressed with it" },
  { name: "xz-utils", brings: "xz", why: "unpacking packages for the image" },
];

/** What `npm test` needs besides. */
export const packagesToTest: readonly DebianPackage[] = [
  { name: "shellcheck", brings: "shellcheck", why: "checks shell scripts" },
  { name: "bats", brings: "bats", why: "tests shell scripts" },
  {
    name: "qemu-system-x86",
    brings: "qemu-system-x86_64",
    why: "boots the image as a machine with a kernel of its own",
  },
  { name: "chromium", brings: "chromium", why: "opens a page as a person would" },
];
