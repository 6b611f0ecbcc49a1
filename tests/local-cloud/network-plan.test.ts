import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addressToNumber,
  blockOf,
  formatBlock,
  netmaskOf,
  numberToAddress,
  overlaps,
  parseBlock,
} from "../../local-cloud/network/addresses.ts";
import { addressPlan } from "../../local-cloud/network/plan.ts";
import { type RouterState, renderRuleset } from "../../local-cloud/network/ruleset.ts";

test("addresses", () => {
  for (const text of ["0.0.0.0", "198.18.0.1", "255.255.255.255"]) {
    assert.equal(numberToAddress(addressToNumber(text) ?? -1), text);
  }
  for (const text of ["", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "a.b.c.d", "1.2.3.4 ", "-1.2.3.4"]) {
    assert.equal(addressToNumber(text), undefined, text);
  }
});

test("blocks", () => {
  const block = (text: string) => parseBlock(text) ?? assert.fail(text);
  assert.equal(formatBlock(block("198.18.5.7/18")), "198.18.0.0/18");
  assert.equal(formatBlock(block("10.0.0.1")), "10.0.0.1/32");
  assert.equal(netmaskOf(block("10.0.0.0/20")), "255.255.240.0");
  assert.equal(netmaskOf(block("0.0.0.0/0")), "0.0.0.0");
  assert.equal(formatBlock(blockOf("10.1.2.3", "255.255.255.0") ?? assert.fail()), "10.1.2.0/24");
  assert.equal(blockOf("10.1.2.3", "255.0.255.0"), undefined);
  for (const text of ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "default", "fe80::/64", "10.0.0.0/-1"]) {
    assert.equal(parseBlock(text), undefined, text);
  }
  assert.equal(overlaps(block("198.18.0.0/18"), block("198.18.63.255")), true);
  assert.equal(overlaps(block("198.18.0.0/18"), block("198.0.0.0/8")), true);
  assert.equal(overlaps(block("198.18.0.0/18"), block("198.18.64.0/18")), false);
});

test("the plan of the default range", () => {
  assert.deepEqual(addressPlan("198.18.0.0/18"), {
    range: "198.18.0.0/18",
    publicBlock: { cidr: "198.18.0.0/20", netmask: "255.255.240.0", gateway: "198.18.0.1" },
    vpcBlock: "198.18.32.0/19",
    hostAddress: "198.18.31.253",
    routerAddress: "198.18.31.254",
  });
});

test("a range that cannot be used is refused", () => {
  for (const text of ["", "198.18.0.0", "198.18.0.0/24", "198.18.0.1/18", "198.18.0.0/7", "fd00::/18", "any"]) {
    assert.throws(() => addressPlan(text), { name: "UserError", message: /CHILLBOX_ADDRESS_RANGE/ }, text);
  }
});

const state: RouterState = {
  hostAddress: "198.18.31.253",
  metadataPort: 8169,
  services: [],
  links: [],
  firewalls: [],
  reserved: [],
};

test("no text of a rule gets into the ruleset unchecked", () => {
  const rules = [
    { protocol: "tcp", addresses: ["1.2.3.4; flush ruleset"] },
    { protocol: "tcp", ports: { from: 1, to: 70_000 }, addresses: ["0.0.0.0/0"] },
    { protocol: "tcp", ports: { from: 9, to: 8 }, addresses: ["0.0.0.0/0"] },
    { protocol: "tcp accept", addresses: ["0.0.0.0/0"] },
  ] as const;
  for (const rule of rules) {
    const firewalls = [{ dropletId: 1, inbound: [rule as never], outbound: [] }];
    assert.throws(() => renderRuleset({ ...state, firewalls }), /is not/);
  }
  const reserved = [{ address: "1.2.3.4", dropletAddress: "5.6.7.8 accept" }];
  assert.throws(() => renderRuleset({ ...state, reserved }), /is not/);
});

test("IPv6 addresses of a rule are left out, a rule of nothing else allows nothing", () => {
  const firewalls = [{ dropletId: 1, inbound: [{ protocol: "tcp", addresses: ["::/0"] } as const], outbound: [] }];
  assert.match(renderRuleset({ ...state, firewalls }), /chain in-1 \{\n {4}drop\n/);
});
