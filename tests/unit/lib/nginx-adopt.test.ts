// biome-ignore-all lint/suspicious/noTemplateCurlyInString: nginx's variables and placeholders are what is tested
import assert from "node:assert/strict";
import { test } from "node:test";
import { adoptNginx } from "../../../lib/nginx-adopt.ts";
import { checkNginx } from "../../../lib/nginx-template.ts";

const own = {
  slug: "my-shop",
  domains: ["shop.test", "www.shop.test", "a.b.shop.test", "other.test"],
  ports: [8001],
  bucketHosts: ["nyc3.spaces.test"],
};
const adopt = (text: string) => adoptNginx(text, own);
const include = "include /etc/nginx/conf.d/my-shop.ssl_cert.include;";
const server = (inside: string) => `server { ${include} server_name shop.test; ${inside} }`;

/** One line each: what a template says, and what it becomes. */
const cases: readonly (readonly [what: string, from: string, to: string])[] = [
  [
    "a map, wherever its variable stands",
    `map $http_upgrade $connection_upgrade { default upgrade; '' close; }
${server('location / { proxy_set_header Connection $connection_upgrade; return 200 "a${connection_upgrade}b$Connection_Upgrade"; }')}`,
    `map $http_upgrade $my__shop_connection_upgrade { default upgrade; '' close; }
${server('location / { proxy_set_header Connection $my__shop_connection_upgrade; return 200 "a${my__shop_connection_upgrade}b$my__shop_connection_upgrade"; }')}`,
  ],
  [
    "a map that refers to another",
    `map $host $a { default 1; } map "$a:$uri" $ab { $a 1; "~^1:" $a; } ${server("if ($ab) { return 204; } set $abc $a;")}`,
    `map $host $my__shop_a { default 1; } map "$my__shop_a:$uri" $my__shop_ab { $a 1; "~^1:" $my__shop_a; } ${server(
      "if ($my__shop_ab) { return 204; } set $abc $my__shop_a;",
    )}`,
  ],
  [
    "geo and split_clients",
    `geo $near { default 0; } split_clients $remote_addr $half { 50% a; * b; } ${server("set $nearly 1; return 200 $near$half$nearly;")}`,
    `geo $my__shop_near { default 0; } split_clients $remote_addr $my__shop_half { 50% a; * b; } ${server(
      "set $nearly 1; return 200 $my__shop_near$my__shop_half$nearly;",
    )}`,
  ],
  [
    "groups of regular expressions, also in tables",
    `map $uri $shown { "~^/(?<kind>x)" $kind; } ${server('location ~ ^/u/(?P<name>\\w+)/(?<=/)x$ { return 200 "$name$kind$1"; }')}`,
    `map $uri $my__shop_shown { "~^/(?<my__shop_kind>x)" $my__shop_kind; } ${server(
      'location ~ ^/u/(?P<my__shop_name>\\w+)/(?<=/)x$ { return 200 "$my__shop_name$my__shop_kind$1"; }',
    )}`,
  ],
  [
    "what a request for permission sets",
    server("location / { auth_request /auth; auth_request_set $user $upstream_http_x_user; return 200 $user; }"),
    server(
      "location / { auth_request /auth; auth_request_set $my__shop_user $upstream_http_x_user; return 200 $my__shop_user; }",
    ),
  ],
  [
    "upstreams, and zones of their own",
    `upstream Backend { zone backend 64k; server 127.0.0.1:8001; } ${server('location / { proxy_pass "http://backend/x"; proxy_redirect http://backend/ /; proxy_set_header Host backend; }')}`,
    `upstream my-shop_backend { zone my-shop_backend 64k; server 127.0.0.1:8001; } ${server('location / { proxy_pass "http://my-shop_backend/x"; proxy_redirect http://my-shop_backend/ /; proxy_set_header Host backend; }')}`,
  ],
  [
    "zones that limit",
    `limit_req_zone $binary_remote_addr zone=one:10m rate=1r/s; limit_conn_zone $server_name zone=per:1m; ${server(
      "limit_req zone=one burst=5; limit_conn per 10;",
    )}`,
    `limit_req_zone $binary_remote_addr zone=my-shop_one:10m rate=1r/s; limit_conn_zone $server_name zone=my-shop_per:1m; ${server(
      "limit_req zone=my-shop_one burst=5; limit_conn my-shop_per 10;",
    )}`,
  ],
  [
    "server_name with a dot: the site's own names below it",
    `server { listen 80; server_name .Shop.test; }`,
    `server { listen 80; server_name shop.test www.shop.test a.b.shop.test; }`,
  ],
  [
    "server_name with a star, without the names that another server has",
    `server { listen 80; server_name *.shop.test other.test; } server { listen 80; server_name www.shop.test; }`,
    `server { listen 80; server_name a.b.shop.test other.test; } server { listen 80; server_name www.shop.test; }`,
  ],
  [
    "a listen beside the included one, and its line stays",
    `server { listen\n80; listen [::]:80; ${include} server_name shop.test; }`,
    `server { \n  ${include} server_name shop.test; }`,
  ],
  [
    "a listen for IPv6 beside one that is there",
    `server { listen 80; listen [::]:80; server_name shop.test; }`,
    `server { listen 80;  server_name shop.test; }`,
  ],
  [
    "sizes of tables, which hold for all sites",
    `map_hash_bucket_size 128; variables_hash_max_size 2048; server_names_hash_bucket_size 64; ${server("")}`,
    `   ${server("")}`,
  ],
];

for (const [what, from, to] of cases) {
  test(`adopts ${what}`, () => {
    assert.equal(adopt(from), to);
    assert.doesNotThrow(() => checkNginx(to, own, "template"));
    assert.equal(adopt(to), to, "a second time changes nothing");
  });
}

test("leaves what is the site's own, and what only looks like a name", () => {
  const text = `# map $a $b; upstream x
map $uri $my__shop_x { $connection_upgrade 1; default $unknown; }
${server("add_header A \"map $connection_upgrade\"; set $one 1; limit_req_status 429; return 200 'upstream $host zone=one';")}`;
  assert.equal(adopt(text), text);
});

/** What the check still names. */
const refused: readonly (readonly [text: string, message: RegExp])[] = [
  [
    "map $uri $x { } map $uri $my__shop_x { } server { listen 80; server_name shop.test; return 200 $x; }",
    /"map" sets the variable \$x/,
  ],
  ["server { listen 80; server_name .stranger.test; }", /"server_name" has "\.stranger\.test"/],
  ["server { listen 80; server_name *.test2; }", /"server_name" has "\*\.test2"/],
  [
    "server { listen 80; server_name .shop.test; } server { listen 80; server_name shop.test www.shop.test a.b.shop.test; }",
    /"server_name" has "\.shop\.test"/,
  ],
  ["upstream api.local { server 127.0.0.1:8001; }", /"upstream" has the name "api\.local"/],
  ["upstream api { server 127.0.0.1:9; }", /"server" goes to "127\.0\.0\.1:9"/],
  ["server { listen 80 default_server; server_name shop.test; }", /"listen" is chillbox's/],
  ["server { listen [::]:80; server_name shop.test; }", /"listen" is chillbox's/],
];

test("what is not the site's is refused as before", () => {
  for (const [text, message] of refused) {
    assert.throws(() => checkNginx(adopt(text), own, "template"), { name: "UserError", message });
  }
});

test("two sites with the same template get names of their own", () => {
  const text = `map $uri $x { } upstream api { server 127.0.0.1:8001; } limit_req_zone $uri zone=z:1m rate=1r/s; ${server("")}`;
  const names = (slug: string) =>
    [...adoptNginx(text, { ...own, slug }).matchAll(/ (\$\w+) \{ \}|upstream (\S+)|zone=([^:]+)/g)].map(
      ([, variable, upstream, zone]) => variable ?? upstream ?? zone,
    );
  assert.deepEqual(names("a"), ["$a_x", "a_api", "a_z"]);
  assert.deepEqual(names("a-b"), ["$a__b_x", "a-b_api", "a-b_z"]);
});

test("leaves a wildcard that the site has itself", () => {
  const domains = ["shop.test", "www.shop.test", "*.shop.test"];
  const text = "server { listen 80; server_name shop.test *.shop.test; }";
  assert.equal(adoptNginx(text, { slug: "shop", domains }), text);
});
