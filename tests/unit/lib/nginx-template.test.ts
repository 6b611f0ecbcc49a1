// biome-ignore-all lint/suspicious/noTemplateCurlyInString: nginx's variables and placeholders are what is tested
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { renderSite } from "../../../lib/manifest.ts";
import { checkNginx } from "../../../lib/nginx-template.ts";

const own = {
  slug: "shop",
  domains: ["shop.test", "www.shop.test"],
  ports: [8001, 8002],
  bucketHosts: ["nyc3.spaces.test", "b-immutable.nyc3.spaces.test"],
};
const file = "shop.nginx.conf.template";
const begin =
  "server {\ninclude /etc/nginx/conf.d/shop.ssl_cert.include;\nserver_name shop.test;\nroot /srv/shop/root;\n";
const server = (inside: string) => `${begin}${inside}\n}\n`;
const location = (inside: string) => server(`location / {\n${inside}\n}`);

const everything = `# Everything of the contract.
map $http_upgrade $shop_connection { default upgrade; "" close; }
map $sent_http_content_type $shop_expires {
  default off;
  ~image/ max;
}
geo $shop_near { default 0; 10.0.0.0/8 1; }
split_clients "\${remote_addr}AAA" $shop_variant { 50% .one; * .two; }
limit_req_zone $binary_remote_addr zone=shop_req:1m rate=10r/s;
limit_conn_zone $binary_remote_addr zone=shop_conn:512k;
upstream shop_api {
  least_conn;
  server 127.0.0.1:8001 max_fails=3 fail_timeout=5s;
  server localhost:8002 backup;
  keepalive 8;
}
server {
  listen 80;
  server_name www.shop.test;
  return 301 $scheme://shop.test$request_uri;
}
server {
  include /etc/nginx/conf.d/shop.ssl_cert.include;
  server_name shop.test WWW.shop.test;
  root /srv/shop/root;
  index index.html index.htm;
  charset utf-8;
  etag on;
  client_max_body_size 20m;
  access_log /var/log/nginx/shop/access.log combined buffer=32k flush=5s;
  error_log /var/log/nginx/shop/error.log warn;
  error_page 404 /notfound.html;
  error_page 500 502 503 504 =503 /maintenance.html;
  error_page 403 = @denied;
  gzip on;
  gzip_types text/css application/json;
  add_header Content-Security-Policy "default-src 'self'; img-src 'self' data:; script-src 'sha256-\\"x\\"'" always;
  expires $shop_expires;
  set $cors "";
  if ($http_origin ~* "^https://([a-z]{2,8}\\.)?shop\\.test$") { set $cors $http_origin; }
  if ($request_method = POST) { return 405; }
  if (!-f $request_filename) { rewrite ^/old/(.*)$ /new/$1 last; }
  if (-f $document_root/maintenance.on) { return 503; }
  rewrite ^/blog/([0-9]+)/([a-z-]+)$ /post.html?id=$1&title=$2 last;
  rewrite ^/(.*)/$ /$1 permanent;
  rewrite ^(.*)\\.php$ https://old.shop.test$1;
  location / { try_files $uri $uri/ $uri.html /index.html$is_args$args; }
  location = /favicon.ico { log_not_found off; access_log off; expires max; }
  location @denied { return 403 "denied\\n"; }
  location ~* "\\.(?:css|js)$" { expires 1y; add_header Cache-Control "public, immutable"; gzip_static on; }
  location /chill/ { alias /usr/local/src/shop/chill/frozen/; autoindex off; }
  location /page { root /usr/local/src/shop/pages/frozen; try_files $uri $uri/index.html =404; }
  location /immutable/ {
    proxy_pass http://nyc3.spaces.test/b-immutable/shop/immutable/;
    proxy_cache var_cache_nginx;
    proxy_cache_key $scheme$host$uri;
    proxy_cache_valid 200 1d;
    proxy_hide_header x-amz-request-id;
    proxy_intercept_errors on;
    proxy_ssl_server_name on;
  }
  location /other/ { proxy_pass https://b-immutable.nyc3.spaces.test/shop/$uri; }
  location /api/ {
    limit_req zone=shop_req burst=20 nodelay;
    limit_conn shop_conn 10;
    limit_except GET POST { deny all; }
    proxy_pass http://shop_api/v1/;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location /api/deep/ { proxy_pass http://127.0.0.1:8002; }
  }
  location /socket {
    proxy_pass http://localhost:8002;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $shop_connection;
    proxy_read_timeout 1h;
    proxy_buffering off;
  }
  location /admin/ {
    satisfy any; allow 10.0.0.0/8; deny all;
    auth_basic "Admin"; auth_basic_user_file /srv/shop/root/.htpasswd;
    auth_request /auth; auth_request_set $shop_user $upstream_http_x_user;
    mirror /mirror;
  }
  location = /auth { internal; proxy_pass http://127.0.0.1:8001/auth; proxy_pass_request_body off; }
  location /text/ { types { text/plain log txt; include /etc/nginx/mime.types; } default_type text/plain; }
  location /sub/ { sub_filter '</head>' '<script src="/x.js"></script></head>'; sub_filter_once on; return 200 a#b; }
  location ~ ^/u/(?<shop_name>[a-z]+)$ { return 200 "$shop_name (?<=x)"; }
  location /direct { proxy_pass http://127.0.0.1:8001$request_uri; }
  location @included { ssi on; ssi_types text/plain; proxy_pass http://127.0.0.1:8001; }
  include /etc/nginx/mime.types;
  location /.well-known/ { root /srv/shop/; }
  location ^~ /.well-known/acme-challenge/ { root /srv/chillbox; }
}
`;

const accepted: readonly string[] = [
  everything,
  everything.replaceAll("\n", "\r\n"),
  server('location "/a b" { return 200 "x;}{"; } # }'),
  server("location = /.well-known/acme-challenge/x { root /srv/chillbox/; }"),
  server("location /.well-known/acme-challenge/ { alias /srv/chillbox/.well-known/acme-challenge/; }"),
  server("access_log off;error_log /dev/null crit;"),
  server("rewrite ^/u/([^/.]+)/(.+)$ /users/$1/$2 break;"),
  server("rewrite ^(/.*)$ /base$1 break;"),
  server("rewrite ^/a/([^/]+)/b$ /b/$1.html last;"),
  server("error_page 404 https://shop.test/$arg_x;"),
  server("location / { return 200 ünïcode; } # ünïcode"),
  server("include\n\t'/etc/nginx/conf.d/shop.ssl_cert.include' ;"),
];

test("a site's own things pass", () => {
  for (const text of accepted) checkNginx(text, own, file);
});

/** The attacks that were tried on the design, and everything else that reaches beyond the site. */
const attacks: readonly (readonly [string, RegExp])[] = [
  ["log_format owned '* * * * * id';", /"log_format" holds for every site/],
  ["access_log /etc/crontabs/root;", /Move it into the server block/],
  [
    server("access_log /etc/crontabs/root owned;"),
    /template:5: "access_log" is "\/etc\/crontabs\/root", .*\/var\/log\/nginx\/shop\//,
  ],
  [server("access_log /var/log/nginx/shop/a.log owned;"), /no format of this server/],
  [server("access_log /var/log/nginx/other/a.log;"), /"access_log"/],
  [server("access_log /var/log/nginx/shop;"), /"access_log"/],
  [server("access_log /var/log/nginx/shop/;"), /"access_log"/],
  [server("access_log /var/log/nginx/shop/../other/a.log;"), /"access_log"/],
  [server("access_log /var/log/nginx/shop/$host.log;"), /"access_log"/],
  [server("access_log syslog:server=10.0.0.1;"), /"access_log"/],
  [server("error_log stderr;"), /"error_log"/],
  [server("error_log off;"), /"error_log"/],
  [server("error_log memory:32m debug;"), /"error_log"/],
  [server("client_body_temp_path /root;"), /"client_body_temp_path" is about files of the whole server/],
  [location("proxy_temp_path /root;"), /"proxy_temp_path"/],
  ["proxy_cache_path /srv/other keys_zone=shop:1m;", /"proxy_cache_path"/],
  [location("proxy_store /srv/other/x;"), /"proxy_store" writes files/],
  [location("proxy_store on;"), /"proxy_store"/],
  [location("proxy_store_access all:rw;"), /"proxy_store_access"/],
  [location("proxy_cache cache_other;"), /Use proxy_cache var_cache_nginx/],
  [location("proxy_cache $arg_zone;"), /"proxy_cache"/],
  [server("ssl_certificate /etc/nginx/certs/other.pem;"), /"ssl_certificate" is chillbox's/],
  [server("ssl_certificate_key data:$x;"), /"ssl_certificate_key"/],
  [location("proxy_ssl_certificate /etc/x;"), /"proxy_ssl_certificate" names keys/],
  [location("proxy_ssl_trusted_certificate /srv/other/x;"), /"proxy_ssl_trusted_certificate"/],
  [server("include /etc/nginx/nginx.conf;"), /Only \/etc\/nginx\/conf\.d\/shop\.ssl_cert\.include/],
  [server("include /etc/nginx/conf.d/*.include;"), /"include"/],
  [server("include /etc/nginx/conf.d/other.ssl_cert.include;"), /"include"/],
  [server("include mime.types;"), /"include"/],
  [location("include /etc/nginx/conf.d/shop.ssl_cert.include;"), /"include"/],
  ["include /srv/shop/root/x.conf;", /"include"/],
  ["map $uri $shop_x { include /etc/shadow; }", /"include" reads a file/],
  ["map $uri $shop_x { include /etc/nginx/mime.types; }", /"include"/],
  ["geo $shop_x { include /etc/shadow; }", /"include"/],
  [server("types { include /etc/shadow; }"), /"include"/],
  ["load_module modules/x.so;", /"load_module" is the whole server's/],
  ["user root;", /"user"/],
  ["http { }", /"http"/],
  ["perl_modules /x;", /"perl_modules" runs code/],
  ["js_import /srv/shop/root/x.js;", /"js_import"/],
  ["lua_package_path /x;", /"lua_package_path"/],
  [location("content_by_lua_block { os.execute(1); }"), /"content_by_lua_block" runs code/],
  [location("fastcgi_pass 127.0.0.1:8001;"), /"fastcgi_pass".*Use proxy_pass/],
  [location("uwsgi_pass 127.0.0.1:8001;"), /"uwsgi_pass"/],
  [location("scgi_pass 127.0.0.1:8001;"), /"scgi_pass"/],
  [location("grpc_pass 127.0.0.1:8001;"), /"grpc_pass"/],
  [location("memcached_pass 127.0.0.1:8001;"), /"memcached_pass"/],
  [location("dav_methods PUT;"), /"dav_methods" writes files/],
  [location("stub_status;"), /"stub_status" is not among those/],
  [location("auth_request_set $http_upgrade x;"), /"auth_request_set" sets the variable \$http_upgrade/],
  [server("resolver 8.8.8.8;"), /"resolver"/],
  [server("merge_slashes off;"), /"merge_slashes"/],
  [location("made_up on;"), /"made_up" is not among those.*docs\/sites\.md/],
  ["gzip on;", /Move it into the server block/],
  // Ports and hosts
  [location("proxy_pass http://127.0.0.1:8003;"), /goes to "127\.0\.0\.1:8003".*Its own are 127\.0\.0\.1:8001/],
  [location("proxy_pass http://127.0.0.1;"), /"proxy_pass"/],
  [location("proxy_pass http://127.9.9.9:8001;"), /"proxy_pass"/],
  [location("proxy_pass http://[::1]:8001;"), /"proxy_pass"/],
  [location("proxy_pass http://0x7f000001:8001;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:08001;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:80010;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:800$x;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:8001$x;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:8001@169.254.169.254/;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:8001?@x/;"), /"proxy_pass"/],
  [location("proxy_pass http://169.254.169.254/;"), /"proxy_pass"/],
  [location("proxy_pass http://evil.test/;"), /"proxy_pass"/],
  [location("proxy_pass http://nyc3.spaces.test.evil.test/;"), /"proxy_pass"/],
  [location("proxy_pass http://nyc3.spaces.test:22/;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:8001$arg_x;"), /variables only behind the "\/"/],
  [location("proxy_pass http://127.0.0.1:8001$request_uri.evil.test;"), /"proxy_pass"/],
  [location("proxy_pass http://127.0.0.1:8001$uri@evil.test;"), /"proxy_pass"/],
  [location("proxy_pass http://$host/;"), /variables only behind the "\/"/],
  [location("proxy_pass $target;"), /"proxy_pass"/],
  [location("proxy_pass ${target};"), /"proxy_pass"/],
  [location("proxy_pass http://unix:/run/redis/other.sock:/;"), /"proxy_pass"/],
  [location("proxy_pass http://unix:/run/redis/other.sock;"), /"proxy_pass"/],
  [location("proxy_pass http://other_api;"), /"proxy_pass"/],
  [location("proxy_pass http://shop_api;"), /"proxy_pass"/],
  [location("proxy_bind 10.0.0.1;"), /"proxy_bind"/],
  ["upstream other { server 127.0.0.1:8001; }", /Call it shop_something/],
  ["upstream nyc3.spaces.test { server 127.0.0.1:8001; }", /"upstream"/],
  ["upstream shop-api { server 127.0.0.1:8001; }", /"upstream"/],
  ["upstream shop_api { server 127.0.0.1:9; }", /"server" goes to "127\.0\.0\.1:9"/],
  ["upstream shop_api { server unix:/run/x.sock; }", /"server" goes to/],
  ["upstream shop_api { server 127.0.0.1:8001 resolve; }", /has "resolve"/],
  ["upstream shop_api { server 127.0.0.1:8001; zone other 64k; }", /"zone"/],
  // Names
  [server("listen 443 ssl;"), /"listen" is chillbox's/],
  [server("listen 80 default_server;"), /"listen"/],
  [server("listen unix:/run/x.sock;"), /"listen"/],
  [server("listen 8003;"), /"listen"/],
  [server("listen 80;"), /"server" listens twice/],
  [server("server_name other.test;"), /"server_name" has "other\.test", .*domain_list/],
  [server("server_name *.shop.test;"), /"server_name"/],
  [server("server_name .shop.test;"), /"server_name"/],
  [server("server_name ~^(.+)$;"), /"server_name"/],
  [server("server_name _;"), /"server_name"/],
  [server('server_name "";'), /"server_name"/],
  [server("server_name $hostname;"), /"server_name"/],
  ["server { listen 80; }", /has no server_name/],
  ["server { server_name shop.test; }", /does not say where it listens/],
  ["map $uri $connection_upgrade { }", /Call it \$shop_something/],
  ["map $uri $args { }", /"map"/],
  ["map $uri $shop__x { }", /"map"/],
  ["map $uri shop_x { }", /"map"/],
  ["geo $http_host { }", /"geo"/],
  ["split_clients $uri $other_x { }", /"split_clients"/],
  [server("location ~ ^/(?<args>x)$ { return 200; }"), /"location" sets the variable \$args, .*Call it \$shop_/],
  [server("location ~ ^/(?P<http_upgrade>x)$ { return 200; }"), /\$http_upgrade/],
  [server("location ~ \"^/(?'other_x'x)$\" { return 200; }"), /\$other_x/],
  [server("if ($uri ~ (?<other_x>x)) { return 200; }"), /"if" sets the variable \$other_x/],
  [location("rewrite ^/(?<other_x>x)$ /y redirect;"), /"rewrite" sets the variable/],
  [location("proxy_redirect ~^/(?<other_x>x)$ /y;"), /"proxy_redirect" sets/],
  ["map $uri $shop_x { ~^(?<other_x>y) 1; }", /sets the variable \$other_x/],
  [server("return 200 $other_token;"), /"return" has the variable \$other_token, which nothing sets here/],
  [location("proxy_set_header X ${other_token};"), /\$other_token/],
  ["map $uri $shop_x { default $other_token; }", /\$other_token/],
  ["limit_req_zone $uri zone=other:1m rate=1r/s;", /"limit_req_zone"/],
  ["limit_req_zone $uri zone=shop:99m rate=1r/s;", /more than 16m/],
  ["limit_conn_zone $uri zone=shop:1g;", /zone=NAME:SIZE/],
  [location("limit_req zone=other_req;"), /"limit_req"/],
  [location("limit_conn other 1;"), /"limit_conn"/],
  // Files
  [server("root /;"), /"root" is "\/".*\/srv\/shop\/root/],
  [server("root /srv/other/root;"), /"root"/],
  [server("root /srv/shop/rootkit;"), /"root"/],
  [server("root /srv/shop/x;"), /"root"/],
  [server("root /srv/shop/..;"), /"root"/],
  [server("location /a { alias /srv/shop/; }"), /"alias" leads out/],
  [server("root srv/shop/root;"), /"root"/],
  [server("root /srv/shop/root/../../other/root;"), /"root"/],
  [server("root /srv/shop/root/..;"), /"root"/],
  [server("root /srv/shop/root/./x;"), /"root"/],
  [server("root //srv/shop/root;"), /"root"/],
  [server("root /srv/shop/root/$host;"), /"root"/],
  [server("root /srv/shop/root$x;"), /"root"/],
  [server("root /srv/shop/root/${x};"), /"root"/],
  [server("root /usr/local/src/shop/api;"), /"root"/],
  [server("root /usr/local/src/other/api/frozen;"), /"root"/],
  [server("root /usr/local/src/shop/../frozen;"), /"root"/],
  [server("root /srv/chillbox;"), /"root"/],
  [location("root /srv/chillbox;"), /"root"/],
  [server("location ~ /.well-known/acme-challenge/ { root /srv/chillbox; }"), /"root"/],
  [server("location ~/.well-known/acme-challenge/ { root /srv/chillbox; }"), /"root"/],
  [server("location /.well-knowing/ { root /srv/chillbox; }"), /"root"/],
  [server("location ~ /.well-known/ { root /srv/chillbox/; }"), /"root"/],
  [server("location /.well-known/ { alias /srv/chillbox/; }"), /"alias"/],
  [server("location /.well-known/acme-challenge/ { root /srv/chillbox/other; }"), /"root"/],
  [location("alias /etc/;"), /"alias"/],
  [server("location /a { alias /srv/shop/root/; }"), /"alias" leads out/],
  [server("location ~ ^/(.*)$ { alias /srv/shop/root/$1; }"), /"alias"/],
  [location("auth_basic_user_file /etc/shadow;"), /"auth_basic_user_file"/],
  [location("auth_basic_user_file /srv/shop/root/$x;"), /"auth_basic_user_file"/],
  [location("try_files /../../../etc/passwd =404;"), /"try_files" is refused because .*"\.\."/],
  [location("try_files $arg_x =404;"), /"try_files"/],
  [location("try_files /%2e%2e/x =404;"), /"try_files"/],
  [location("try_files $uri /.$1./x;"), /"try_files"/],
  [location("try_files /x?$arg_x =404;"), /"try_files"/],
  [location("try_files $uri /$arg_x;"), /"try_files"/],
  [location("try_files x$uri =404;"), /begins with "\/"/],
  [location("index /../x;"), /"index"/],
  [location("index $arg_x;"), /"index"/],
  [location("error_page 404 /../x;"), /"error_page"/],
  [location("error_page 404 $arg_x;"), /"error_page"/],
  [location("rewrite ^ /../x break;"), /"rewrite"/],
  [location("rewrite ^ $arg_x break;"), /"rewrite"/],
  [location("rewrite ^ ${http_x} last;"), /"rewrite"/],
  [location("rewrite ^/a(..)b$ /$1/x break;"), /"rewrite".*Capture whole parts/],
  [location("rewrite ^/(.)(.)x$ /$1$2/x break;"), /"rewrite"/],
  [location("rewrite ^/a(.*)$ /$1 break;"), /"rewrite"/],
  [location("rewrite ^/(.*)html$ /$1 break;"), /"rewrite"/],
  [location("rewrite ^/(.*)/?x /$1 break;"), /"rewrite"/],
  [location("rewrite ^/?(.*)$ /$1 break;"), /"rewrite"/],
  [location("rewrite ^/(.*)$ /.$1 break;"), /"rewrite"/],
  [location("rewrite ^/([--9]*)x /$1 break;"), /"rewrite"/],
  [location("rewrite ^/(?<a>.*)$ /$1 break;"), /"rewrite"/],
  [location("rewrite ^/([a-z]+)(.+)x$ /$2 break;"), /"rewrite"/],
  [location("rewrite ^ /.$1.$1 break;"), /"rewrite"/],
  [location("auth_request /../x;"), /"auth_request"/],
  [location("auth_request $uri;"), /"auth_request"/],
  [location("mirror $arg_x;"), /"mirror"/],
  [server("if (-f /etc/nginx/certs/other.pem) { return 204; }"), /"if" asks for/],
  [server("if ( !-e $arg_x ) { return 204; }"), /"if" asks for/],
  [server("if (-d $document_root/../x) { return 204; }"), /"if" asks for/],
];

test("what is not the site's is refused, with the directive, the reason and the way out", () => {
  for (const [text, message] of attacks) assertRefused(text, message);
});

/** Other spellings of `root /etc;` and its like, for which a careless reader misses what nginx sees. */
const spellings: readonly (readonly [string, RegExp])[] = [
  [server('root "/etc";'), /"root"/],
  [server("root '/etc';"), /"root"/],
  [server("root\n\n/etc\n;"), /:5: "root"/],
  [server("root\t/etc;"), /"root"/],
  [server("root # /srv/shop/root;\n/etc;"), /:5: "root"/],
  [server('"root" /etc;'), /is not a name of a directive/],
  [server("'root' /etc;"), /is not a name of a directive/],
  [server("r\\oot /etc;"), /is not a name of a directive/],
  [server("\\root /etc;"), /is not a name of a directive/],
  [server("ROOT /etc;"), /is not a name of a directive/],
  [server("${x} /etc;"), /is not a name of a directive/],
  [server("roo\u0442 /etc;"), /is not a name of a directive/],
  [server("\u00a0root /etc;"), /is not a name of a directive/],
  [server("root\u00a0/etc;"), /is not a name of a directive/],
  [server("root\u2028/etc;"), /U\+2028 has no place/],
  [`\ufeff${server("")}`, /:1: the character U\+feff/],
  [server("# \0\nroot /srv/shop/root;"), /:5: the character U\+0000/],
  [server("root /srv/shop/root\0/../../etc;"), /U\+0000/],
  [server("# comment\rroot /etc;"), /U\+000d/],
  [server("root /srv/shop/root\r;"), /U\+000d/],
  [server("# \v\nroot /srv/shop/root;"), /U\+000b/],
  [server("root /srv/shop/ro\fot;"), /U\+000c/],
  [server("root /srv/shop/\ufffd;"), /U\+fffd/],
  [server("root /srv/shop/\ud800;"), /U\+d800/],
  [server("# harmless\r\nroot /etc;"), /:6: "root"/],
  [server('add_header A "# " ; root /etc; #"'), /"root"/],
  [server("add_header A b#c; root /etc;"), /"root"/],
  [server("add_header A '\\'; root /srv/shop/root; #' ; root /etc;"), /"root"/],
  [server('add_header A "\\\\"; root /etc; # ";'), /"root"/],
  [server('add_header A "x"root /etc;'), /followed by "r"/],
  [server('add_header A "x""y";'), /followed by """/],
  [server('add_header A x"; root /etc;"'), /there is a " within a word/],
  [server("add_header A x'y';"), /there is a ' within a word/],
  [server("add_header A x\\;root /etc;"), /a backslash is before/],
  [server("add_header A x\\ y;"), /a backslash is before/],
  [server("add_header A x\\{y;"), /a backslash is before/],
  [server('add_header A \\"x; root /etc;'), /a backslash is before/],
  [server('root "/srv/shop/root\\n";'), /"root"/],
  [server('root "/srv/shop/root\n";'), /"root"/],
  [server('root "/srv/shop/root ";'), /"root"/],
  [server("root /srv/shop/root /etc;"), /"root"/],
  [server("root;"), /"root"/],
  [server("root /srv/shop/root{}"), /"root" has a block/],
  [server("add_header A ${x;} root /etc;"), /do not begin a variable/],
  [server("add_header A ${x y};"), /do not begin a variable/],
  [server("add_header A ${};"), /do not begin a variable/],
  [server("add_header A x}; root /etc;"), /there is a } within a word/],
  [server("add_header A {root /etc;}"), /"add_header" has a block/],
  [location("location /x { if ($a) { root /etc; } }"), /:6: "root"/],
  [location("limit_except GET { root /etc; }"), /"root"/],
  [location("if ($a) { proxy_pass http://evil.test; }"), /"proxy_pass"/],
  [server("location /x/ { location /x/y/ { location /x/y/z/ { alias /etc/; } } }"), /"alias"/],
  [server("server { root /etc; }"), /"server" is not among those/],
  [server("upstream shop_a { server evil.test; }"), /"upstream"/],
  [server("map $uri $shop_x { default 1; }"), /"map"/],
  ["map $uri $shop_x { a { b c; } }", /has a block/],
  ["map $uri $shop_x { 'include' /etc/shadow; }", /"include"/],
  ["map $uri $shop_x;", /needs a block/],
  ["server;", /needs a block/],
  [server("location / ;"), /needs a block/],
  [server("location /"), /a ";" is missing before "}"/],
  [`${begin}}\n}`, /there is a "}" that closes nothing/],
  [begin, /:5: a "}" is missing at the end/],
  [`${begin} root /srv/shop/root`, /a ";" is missing at the end/],
  [server(";"), /no directive before ";"/],
  [server("{}"), /no directive before "{"/],
  [server("add_header A 'x;"), /:5: the quote ' is not closed/],
  [server('add_header A "x\\"'), /the quote " is not closed/],
  [server(`add_header A ${"x".repeat(4096)};`), /a word is longer/],
  [server(`add_header A "${"é".repeat(2048)}";`), /a word is longer/],
  [server("location / {".repeat(50) + "}".repeat(50)), /nested deeper/],
  ["# x\n".repeat(100_000), /longer than/],
];

test("no spelling hides from the check what nginx would see", () => {
  assert.ok(spellings.length >= 40);
  for (const [text, message] of spellings) assertRefused(text, message);
});

test("every problem is named with its line, up to twenty", () => {
  const text = server("root /etc;\nssl_protocols SSLv3;\nlisten 1;".repeat(10));
  assert.throws(
    () => checkNginx(text, own, file),
    (error: Error) => {
      assert.match(error.message, /template:5: "root" .*\n.*template:6: "ssl_protocols" /);
      assert.equal(error.message.split("\n").length, 21);
      return /and \d+ more/.test(error.message);
    },
  );
});

test("names of sites whose slugs begin alike stay apart", () => {
  const check = (slug: string, text: string) => () => checkNginx(text, { ...own, slug }, file);
  check("a-b", "map $uri $a__b_x { } limit_req_zone $uri zone=a-b_x:1m rate=1r/s;")();
  assert.throws(check("a", "map $uri $a__b_x { }"), { name: "UserError" });
  assert.throws(check("a", "limit_req_zone $uri zone=a-b_x:1m rate=1r/s;"), { name: "UserError" });
  assert.throws(check("http", "map $uri $http_authorization { }"), /name the site file otherwise/);
  assert.throws(check("cache", "limit_req_zone $uri zone=cache_other:1m rate=1r/s;"), { name: "UserError" });
});

const hello = JSON.parse(readFileSync("sites/hello.site.json", "utf8"));
const helloTemplate = readFileSync("sites/hello/nginx/hello.nginx.conf.template", "utf8");
const surroundings = {
  serverName: "box.test",
  techEmail: "a@box.test",
  manageDns: true,
  acmeServer: "https://acme.test/dir",
  tls: true,
  artifactBucket: "b-artifacts",
  immutableBucket: "b-immutable",
  immutableBucketHost: "b-immutable.nyc3.spaces.test",
  s3Endpoint: "http://nyc3.spaces.test",
  subnet: "10.1.0.0/24",
};
function render(slug: string, template: string, env: readonly { name: string; value: string }[] = []): string {
  const domain = `${slug}.test`;
  const site = {
    ...{
      slug,
      path: `/sites/${slug}.site.json`,
      digest: "",
      name: slug,
      serverName: domain,
      release: ".",
      warnings: [],
    },
    domains: [domain, `www.${domain}`],
    env: [...hello.env, ...env],
    services: hello.services,
    workers: [],
  };
  const release = {
    ...{
      slug,
      version: "1.0.0",
      artifactPath: "",
      artifactSha256: "",
      artifactSize: 1,
      artifactDigest: "",
      immutable: [],
      env: [],
    },
    template,
    templateName: `${slug} 1.0.0: nginx/templates/${slug}.nginx.conf.template`,
  };
  return renderSite(site, release, surroundings).nginx;
}

test("the example's template passes, also under the name that README gives it", () => {
  assert.match(render("hello", helloTemplate), /server_name hello\.test www\.hello\.test;/);
  assert.match(render("shop", helloTemplate), /root \/srv\/shop\/root;/);
});

test("rendering refuses a template that reaches beyond its site", () => {
  const bad = helloTemplate.replace("proxy_http_version 1.1;", "proxy_store on;");
  const line = bad.slice(0, bad.indexOf("proxy_store")).split("\n").length;
  assert.throws(() => render("hello", bad), {
    name: "UserError",
    message: `hello 1.0.0: nginx/templates/hello.nginx.conf.template:${line}: "proxy_store" writes files on the server. Use proxy_cache var_cache_nginx.`,
  });
  assert.throws(() => render("hello", helloTemplate.replace("${API_PORT}", "8002")), /"proxy_pass" goes to/);
});

test("a variable's value cannot end a directive or begin another", () => {
  const template = (inside: string) => helloTemplate.replace("error_page 404 /notfound.html;", inside);
  const withValue = (inside: string, value: string) => () => render("hello", template(inside), [{ name: "X", value }]);
  withValue("add_header A ${X};", "b always")();
  withValue('add_header A "${X}";', "default-src 'self'; img-src *")();
  for (const value of ["a; add_header B c", "a\nb", "a; }\nserver { ", "a {", "a #", "'a; add_header B c'; etag on"]) {
    assert.throws(withValue("add_header A ${X};", value), { name: "UserError" }, value);
  }
  assert.throws(withValue('add_header A "${X}";', 'a"; add_header B "c'), /the value of a variable ends a directive/);
  assert.throws(withValue("# ${X}", "a\nroot /etc;"), /the value of a variable ends a directive/);
  // nginx makes a line break of the first; all else it leaves.
  for (const bad of ["\\n", "\\t", "\\\\"]) {
    assert.throws(withValue('add_header A "${X}";', bad), /nginx\.conf\.template:\d+: the value of a variable/, bad);
  }
  withValue('add_header A "${X}";', "\\d+\\.")();
});

function assertRefused(text: string, message: RegExp): void {
  assert.throws(
    () => checkNginx(text, own, file),
    (error: Error) => {
      assert.equal(error.name, "UserError", text);
      assert.match(error.message, message, text);
      return true;
    },
    `not refused: ${text.slice(0, 300)}`,
  );
}
