# shellcheck shell=sh
# What nginx is told of a site's certificate. A subject is a site's slug, or _server for the server's own name. $CERTS/<subject>/current
# is a link to one of two kinds of folders, so that one rename changes key, certificate, ports and redirect together:
#   plain/     ssl_cert.include with `listen 80;`
#   <number>/  that never changes again: ssl_cert.include with port 443, key.pem, fullchain.pem (the certificate, then the CA's own),
#              names (that it is for, a line each), directory (the ACME server's), http.conf (a server for these names on port 80, which
#              sends visitors to https)
# nginx is not root, so its group reads the keys; sites' users do not come in here.
# shellcheck disable=SC2154  # ROOT, STATE, RUN, SCRIPTS come from chillbox.sh, TREE and SERVICES from tree.sh

CERTS=$STATE/certs

# place_certificate SUBJECT: the file that the site's template includes is there, and says what there is: no certificate at first.
place_certificate() {
  make_dir 750 root:nginx "$CERTS"
  make_dir 750 root:nginx "$CERTS/$1"
  make_dir 750 root:nginx "$CERTS/$1/plain"
  [ -e "$CERTS/$1/plain/ssl_cert.include" ] ||
    echo 'listen 80;' | put_file 640 root:nginx "$CERTS/$1/plain/ssl_cert.include" || true
  if [ ! -e "$CERTS/$1/current/ssl_cert.include" ]; then
    # A site that comes back after it was removed has its certificate still.
    place_newest=$(numbers_of "$1" | tail -n 1)
    put_link "${place_newest:-plain}" "$CERTS/$1/current" || true
  fi
  put_link "$CERTS/$1/current/ssl_cert.include" "$ROOT/etc/nginx/conf.d/$1.ssl_cert.include" || true
}

# numbers_of SUBJECT: lines of the numbers of its certificates, the newest last. There are more than one for a moment only.
numbers_of() {
  for numbers_of_path in "$CERTS/$1"/[0-9]*; do
    case $numbers_of_path in *.new | *'*') ;; *) echo "${numbers_of_path##*/}" ;; esac
  done | sort -n
}

# hide_certificate SUBJECT: nginx forgets it; the certificate stays, because a CA gives out the same only a few times a week.
hide_certificate() { rm -f "$ROOT/etc/nginx/conf.d/$1.ssl_cert.include" "$CERTS/$1/current"; }

# has_certificate SUBJECT NAME: whether visitors of this name get https.
has_certificate() { grep -Fqx -- "$2" "$CERTS/$1/current/names" 2>/dev/null; }

# wake_certs: whoever gets certificates looks at once whether one is wanted.
wake_certs() { s6-svc -1 "$TREE/certs" 2>/dev/null || true; }
