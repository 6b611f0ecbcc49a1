import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { describe, it } from "node:test";
import { accountKey } from "../../../lib/certs/account-key.ts";
import { type CertificateRequest, checkNames, nextFailure, reasonToOrder, renewalId } from "../../../lib/certs/due.ts";

const day = 86_400_000;
const issued = Date.parse("2026-01-01T00:00:00Z");
const certificate = {
  names: ["*.a.test", "a.test"],
  directory: "https://ca.test/dir",
  issued: new Date(issued).toISOString(),
  expires: new Date(issued + 90 * day).toISOString(),
  authority: "69885B6B87464041E1B37B847BA0AE2CDE01C8D4",
  serial: "87654321",
};
const request: CertificateRequest = {
  names: ["a.test", "*.a.test"],
  csr: "",
  directory: "https://ca.test/dir",
  trial: null,
  email: "me@a.test",
  ca: null,
  certificate,
};

describe("a certificate that the laptop orders", () => {
  const due = (changes: Partial<CertificateRequest>, days: number, window?: { start: number; end: number }) =>
    reasonToOrder({ ...request, ...changes }, window, issued + days * day);

  it("is due when there is none, it is another, or a third of its time is left", () => {
    assert.equal(due({}, 59), undefined);
    assert.match(due({}, 61) ?? "", /^it ends at 2026-04-01/);
    assert.match(due({ certificate: null }, 0) ?? "", /none/);
    assert.match(due({ names: ["a.test", "b.test"] }, 0) ?? "", /names/);
    assert.match(due({ directory: "https://other.test/dir" }, 0) ?? "", /another CA/);
    // Six days, as Let's Encrypt's short-lived ones have.
    const short = { ...certificate, expires: new Date(issued + 6 * day).toISOString() };
    assert.equal(due({ certificate: short }, 3.9), undefined);
    assert.match(due({ certificate: short }, 4.1) ?? "", /^it ends/);
  });

  it("is due when the CA wants it, at a moment of its own in the window", () => {
    const window = { start: issued + 10 * day, end: issued + 20 * day };
    assert.equal(due({}, 9, window), undefined);
    assert.match(due({}, 20, window) ?? "", /the CA wants/);
    const moments = ["01", "02", "03", "04"].map((serial) => {
      const other = { ...certificate, serial };
      return Array.from({ length: 100 }, (_, index) => 10 + index / 10).find((days) =>
        due({ certificate: other }, days, window),
      );
    });
    assert.equal(new Set(moments).size, 4, `${moments}`);
  });

  it("is known to the CA as in RFC 9773's example", () => {
    assert.equal(renewalId(certificate), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    assert.equal(renewalId({ ...certificate, authority: "" }), undefined);
  });

  it("that could not be had is tried again after an hour, then two, up to a day", () => {
    let failure = nextFailure(undefined, "no", issued);
    const hours = [failure.next];
    for (let attempt = 0; attempt < 6; attempt++) {
      failure = nextFailure(failure, "no", issued);
      hours.push(failure.next);
    }
    assert.deepEqual(
      hours.map((next) => (Date.parse(next) - issued) / 3_600_000),
      [1, 2, 4, 8, 16, 24, 24],
    );
    assert.equal(failure.since, certificate.issued);
  });
});

describe("the account's key", () => {
  it("is a key that signs, the same for the same secret and another for another", () => {
    const key = accountKey("one");
    assert.equal(accountKey("one"), key);
    assert.notEqual(accountKey("two"), key);
    const text = Buffer.from("text");
    const signature = sign("sha256", text, createPrivateKey(key));
    assert.ok(verify("sha256", text, createPublicKey(key), signature));
  });
});

it("a server gets certificates for the names of the site's file alone", () => {
  const sites = [{ slug: "shop", domains: ["shop.test", "*.shop.test"] }];
  checkNames("shop", ["*.shop.test", "shop.test"], sites);
  assert.throws(() => checkNames("shop", ["shop.test", "*.other.test"], sites), /\*\.other\.test, which is not in/);
  assert.throws(() => checkNames("none", ["shop.test"], sites), /"domain_list" of none\.site\.json/);
});
