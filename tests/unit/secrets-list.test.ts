import assert from "node:assert/strict";
import { test } from "node:test";
import { hasPlainText, withoutValues } from "../../cli/secrets-config.ts";
import { renderList, type SecretRow, type SecretsList } from "../../cli/secrets-list.ts";
import { readSecretsConfig } from "../../lib/site-secrets.ts";

/** As Pulumi writes a secret of so many bytes. */
function secure(bytes: number): { secure: string } {
  return { secure: `v1:bm9uY2Vub25jZQ==:${Buffer.alloc(bytes + 16).toString("base64")}` };
}

test("what is set is told without the passphrase, as large as it is", () => {
  const config = {
    shop: {
      api: { A: secure(3), secure: secure(5) },
      file: secure(7 + 8),
      old: { older: secure(64), key: secure(1) },
      gone: {},
    },
    all: secure(9),
  };
  assert.deepEqual(readSecretsConfig(withoutValues(config), assert.fail), {
    shop: {
      api: { keys: { A: "xxx", secure: "xxxxx" } },
      file: { base64: Buffer.alloc(6).toString("base64") },
      old: { older: "0".repeat(64), key: 1 },
    },
  });
});

test("a value that anybody can read is noticed, wherever it stands", () => {
  assert.equal(hasPlainText({ shop: { api: { A: secure(1), older: secure(64) }, file: secure(8), gone: {} } }), false);
  for (const plain of [{ shop: { api: { A: secure(1), B: "x" } } }, { shop: { file: "base64:eA==" } }, "x"]) {
    assert.equal(hasPlainText(plain), true, JSON.stringify(plain));
  }
});

const row: SecretRow = { slug: "shop", service: "api", file: "api.cfg", set: "no", server: null };
const now = Date.parse("2026-01-02T00:00:00Z");
const on = (state: "open" | "locked" | "waiting") => ({ state, since: "2026-01-01T00:00:00Z", number: 1 });

function render(changes: Partial<SecretsList>, stack = "local"): string {
  return renderList({ secrets: [], plainText: false, locked: false, ...changes }, stack, now);
}

test("the list has a line for each service, and the exact command for what is missing", () => {
  const secrets = [
    row,
    { ...row, service: "web", set: "keys", keys: ["A", "B"], bytes: 9, server: on("open") },
    { ...row, service: "mail", set: "file", bytes: 12, server: { ...on("waiting"), since: null } },
    { ...row, service: "left", file: "", set: "older" },
  ] as const;
  assert.equal(
    render({ secrets }, "production"),
    [
      "SITE  SERVICE  FILE     IN CONFIG                   ON THE SERVER",
      "shop  api      api.cfg  not set                     no",
      "shop  web      api.cfg  A, B                        open, for 24 h",
      "shop  mail     api.cfg  a file, about 12 bytes      waits for it",
      "shop  left              a file of the older format  no",
      "",
      "shop api gets no api.cfg yet. Key by key, or as a whole file:",
      "  pulumi config set --secret --path 'secrets.shop.api.KEY' --stack production",
      "  npx chillbox secrets set shop api --stack production <FILE",
      "shop left wants no secret, so that `up` refuses what is set: npx chillbox secrets rm shop left --stack production",
      "What is set and not on the server gets there with: pulumi up --stack production",
      "",
    ].join("\n"),
  );
});

test("the list says that the server is locked, was not asked, or that a value can be read", () => {
  const secrets = [{ ...row, set: "older", server: on("locked") }] as const;
  assert.match(render({ secrets, locked: true }), /locked, for 24 h\n\nThe server is locked: npx chillbox unlock\n$/);
  assert.match(
    render({ secrets, locked: null, unreachable: "It is off." }),
    / \?\n\nThe server was not asked: It is off/,
  );
  assert.match(
    render({ plainText: true }),
    /^No service wants a secret\.\n\nSome values in Pulumi\.local\.yaml are not/,
  );
});
