#!/bin/sh
# Prepares a server of chillbox's for the other tools: root may log in on port 2222 with a key, and a second nginx serves
# /etc/rivals/sites/*.conf. Usage: server.sh PUBLIC_KEY
set -eu

public_key=$1
umask 022
mkdir -p /etc/rivals/sites /var/log/rivals
umask 077
[ -e /etc/rivals/host_key ] || ssh-keygen -q -t ecdsa -N '' -f /etc/rivals/host_key
echo "$public_key" >/etc/rivals/authorized_keys
cat >/etc/rivals/sshd_config <<SSHD
Port 2222
HostKey /etc/rivals/host_key
PermitRootLogin prohibit-password
AuthorizedKeysFile /etc/rivals/authorized_keys
PidFile /run/rivals-sshd.pid
Subsystem sftp internal-sftp
SSHD
umask 022
cat >/etc/rivals/nginx.conf <<NGINX
user nginx;
pid /run/rivals-nginx.pid;
error_log /var/log/rivals/error.log;
events {}
http {
  include /etc/nginx/mime.types;
  access_log /var/log/rivals/access.log;
  include /etc/rivals/sites/*.conf;
}
NGINX
cat >/etc/init.d/rivals-nginx <<INIT
#!/sbin/openrc-run
command=/usr/sbin/nginx
command_args="-c /etc/rivals/nginx.conf"
pidfile=/run/rivals-nginx.pid
extra_started_commands=reload
reload() { nginx -c /etc/rivals/nginx.conf -s reload; }
INIT
chmod 755 /etc/init.d/rivals-nginx
"$(command -v sshd || echo /usr/sbin/sshd)" -f /etc/rivals/sshd_config
rc-service rivals-nginx start >&2
cat /etc/rivals/host_key.pub
