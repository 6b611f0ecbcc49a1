#!/usr/bin/env bats
# chillbox-firewall: what it takes, and what nft is told. Real rules in a real network: tests/security/firewall.test.ts.

load helper

prepare() {
  mkdir -p "$ROOT/proc" "$ROOT/run/chillbox" "$ROOT/etc/chillbox"
  echo '10.00 1.00' >"$ROOT/proc/uptime"
  fake nft 'case "$*" in *list*) printf "policy drop\npolicy drop\npolicy drop\n" ;; esac'
  fake setsid 'exit 0'
}

apply() { echo "$1" | script chillbox-firewall apply; }

@test "new rules wait for a confirmation, and are not what the next boot loads" {
  [ "$(apply '{"sshAllowedAddresses": ["0.0.0.0/0"], "outbound": []}')" = '{"changed": true}' ]
  [ -e "$ROOT/run/chillbox/firewall.pending" ]
  [ ! -e "$ROOT/etc/chillbox/firewall.nft" ]
}

@test "ssh is for who is named alone, or for all with a limit for those who are not" {
  apply '{"sshAllowedAddresses": ["198.51.100.0/24", "2001:db8::/32"], "outbound": []}'
  rules=$ROOT/run/chillbox/firewall.pending
  [ "$(grep 'dport 22' "$rules" | sed 's/^ *//')" = 'tcp dport 22 ip saddr 198.51.100.0/24 accept' ]
  apply '{"sshAllowedAddresses": ["0.0.0.0/0", "198.51.100.7"], "outbound": [{"protocol": "udp", "ports": "5000-5010", "address": "192.0.2.1"}]}'
  [ "$(grep -c 'dport 22' "$rules")" -eq 3 ]
  grep -q 'ip daddr 192.0.2.1 udp dport 5000-5010 accept' "$rules"
}

@test "an input that could write rules of its own is refused" {
  for input in '{}' '{"sshAllowedAddresses": ["1.1.1.1\n accept"], "outbound": []}' '{"sshAllowedAddresses": ["0.0.0.0/0 accept"], "outbound": []}' '{"sshAllowedAddresses": "0.0.0.0/0", "outbound": []}' \
    '{"sshAllowedAddresses": [], "outbound": [{"protocol": "tcp", "ports": "1 accept"}]}' \
    '{"sshAllowedAddresses": [], "outbound": [{"protocol": "tcp", "ports": "1", "address": "1.1.1.1; flush"}]}' \
    '{"sshAllowedAddresses": [], "outbound": [{"protocol": "sctp", "ports": "1"}]}'; do
    refuses 'malformed' apply "$input"
  done
}
