import assert from "node:assert/strict";
import { test } from "node:test";
import { repeatHsts } from "../../../lib/nginx-hsts.ts";

const hsts = "add_header Strict-Transport-Security $chillbox_hsts always;";

test("the header is repeated where a block adds headers of its own, and nowhere else", () => {
  const text = `server {
  add_header A a;
  add_header B b;
  location / {
    if ($a) { add_header C c; }
  }
  location /plain/ { return 200; }
}
`;
  assert.equal(
    repeatHsts(text),
    `server {
  add_header A a; ${hsts}
  add_header B b;
  location / {
    if ($a) { add_header C c; ${hsts} }
  }
  location /plain/ { return 200; }
}
`,
  );
});

test("a site's own Strict-Transport-Security stays alone in its block", () => {
  const text = `server { add_header A a; location / { add_header "strict-transport-security" "max-age=0"; } }`;
  assert.equal(
    repeatHsts(text),
    `server { add_header A a; ${hsts} location / { add_header "strict-transport-security" "max-age=0"; } }`,
  );
});
