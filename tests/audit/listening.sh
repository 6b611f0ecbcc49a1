#!/bin/sh
# Prints "tcp PORT" and "udp PORT" of each socket of this server, IPv4 or IPv6, that somebody outside of it could reach, if no firewall stood before it.
set -eu
for protocol in tcp udp; do
	# State 0A listens; a datagram socket that is not connected has state 07.
	case $protocol in tcp) state=0A ;; *) state=07 ;; esac
	cat "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null | while read -r _ local _ is _; do
		case $is:$local in
		$state:0100007F:* | $state:00000000000000000000000001000000:* | $state:*7F:*) ;;
		"$state":*) echo "$protocol $((0x${local##*:}))" ;;
		esac
	done
done | sort -u
