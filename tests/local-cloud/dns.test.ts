import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { type Answer, decode, encode, type Packet } from "dns-packet";
import { createDnsServer } from "../../local-cloud/gateway/dns.ts";
import { address, alias, soa, tableZones } from "./zones-support.ts";

const longText = "x".repeat(300);
const zones = tableZones({
  "hello.test": [
    soa,
    address("198.18.0.5"),
    { type: "AAAA", ttl: 60, data: "2001:db8::5" },
    { type: "NS", ttl: 1800, data: "ns1.digitalocean.com" },
    { type: "MX", ttl: 60, data: "mail.hello.test", priority: 10 },
    { type: "TXT", ttl: 60, data: longText },
    { type: "CAA", ttl: 60, data: "letsencrypt.org", flags: 0, tag: "issue" },
  ],
  "www.hello.test": [alias("hello.test.")],
  "far.hello.test": [alias("www.hello.test")],
  "out.hello.test": [alias("elsewhere.example")],
  "gone.hello.test": [alias("missing.hello.test")],
  "loop.hello.test": [alias("loop.hello.test")],
  "_sip._tcp.hello.test": [{ type: "SRV", ttl: 60, data: "hello.test", priority: 1, weight: 2, port: 5060 }],
  "big.hello.test": Array.from({ length: 60 }, (_, i) => address(`198.18.1.${i}`)),
});
const logged: string[] = [];
const server = createDnsServer({ zones, hostAddress: "198.18.63.253", log: (line) => logged.push(line) });
let port = 0;

before(async () => {
  port = await server.listen("127.0.0.1", 0);
});
after(() => server.close());

test("answers each type of record with authority", async () => {
  const a = await ask("hello.test", "A");
  assert.equal(a.flag_aa, true);
  assert.deepEqual(data(a), ["198.18.0.5"]);
  assert.equal(a.answers?.[0]?.type === "A" && a.answers[0].ttl, 60);
  assert.deepEqual(data(await ask("hello.test", "AAAA")), ["2001:db8::5"]);
  assert.deepEqual(data(await ask("hello.test", "NS")), ["ns1.digitalocean.com"]);
  assert.deepEqual(data(await ask("hello.test", "MX")), [{ preference: 10, exchange: "mail.hello.test" }]);
  const txt = data(await ask("hello.test", "TXT", { edns: 1232 }))[0] as Buffer[];
  assert.equal(Buffer.concat(txt).toString(), longText);
  const caa = data(await ask("hello.test", "CAA"))[0] as { tag: string; value: string };
  assert.deepEqual([caa.tag, caa.value], ["issue", "letsencrypt.org"]);
  const srv = data(await ask("_sip._tcp.hello.test", "SRV"))[0];
  assert.deepEqual(srv, { priority: 1, weight: 2, port: 5060, target: "hello.test" });
  const start = data(await ask("hello.test", "SOA"))[0] as { mname: string; minimum: number; serial: number };
  assert.deepEqual([start.mname, start.serial, start.minimum], ["ns1.digitalocean.com", 1750000000, 1800]);
});

test("repeats the question as it was asked, whatever its case", async () => {
  const answer = await ask("HeLLo.TeSt", "A");
  assert.equal(answer.questions?.[0]?.name, "HeLLo.TeSt");
  assert.deepEqual(data(answer), ["198.18.0.5"]);
});

test("follows aliases inside the zones and leaves those that lead out", async () => {
  assert.deepEqual(data(await ask("far.hello.test", "A")), ["www.hello.test", "hello.test", "198.18.0.5"]);
  assert.deepEqual(data(await ask("far.hello.test", "CNAME")), ["www.hello.test"]);
  assert.deepEqual(data(await ask("out.hello.test", "A")), ["elsewhere.example"]);
  const gone = await ask("gone.hello.test", "A");
  assert.deepEqual([rcode(gone), data(gone)], ["NXDOMAIN", ["missing.hello.test"]]);
  assert.equal((await ask("loop.hello.test", "A")).answers?.length, 8);
});

test("tells a name without such a record from one that is missing, with the zone's SOA", async () => {
  for (const [name, type, expected] of [
    ["www.hello.test", "SRV", "NOERROR"],
    ["hello.test", "SRV", "NOERROR"],
    ["_tcp.hello.test", "A", "NOERROR"],
    ["nothing.hello.test", "A", "NXDOMAIN"],
    ["deep.nothing.hello.test", "AAAA", "NXDOMAIN"],
  ] as const) {
    const answer = await ask(name, type);
    assert.equal(rcode(answer), expected, name);
    assert.equal(answer.authorities?.[0]?.type, "SOA", name);
    assert.equal(answer.authorities?.[0]?.name, "hello.test", name);
  }
});

test("says that a type it does not know has no record", async () => {
  for (const [name, aliases] of [
    ["hello.test", 0],
    ["www.hello.test", 1],
    ["nyc3.spaces.test", 0],
  ] as const) {
    for (const number of [64, 65, 65_280]) {
      const asked = query(name, "A");
      asked.writeUInt16BE(number, asked.length - 4);
      const answer = await sendQuery(asked);
      assert.deepEqual([rcode(answer), answer.authorities?.[0]?.type], ["NOERROR", "SOA"], `${name} ${number}`);
      assert.equal(answer.answers?.length, aliases, `${name} ${number}`);
    }
  }
});

test("has every name of Spaces at the host's address", async () => {
  for (const name of ["nyc3.spaces.test", "bucket.nyc3.spaces.test", "a.b.ams3.SPACES.test"]) {
    assert.deepEqual(data(await ask(name, "A")), ["198.18.63.253"], name);
  }
  const v6 = await ask("nyc3.spaces.test", "AAAA");
  assert.deepEqual([rcode(v6), v6.answers?.length, v6.authorities?.[0]?.type], ["NOERROR", 0, "SOA"]);
});

test("refuses all other names, classes and transfers", async () => {
  assert.equal(rcode(await ask("example.com", "A")), "REFUSED");
  assert.equal(rcode(await ask("notspaces.test", "A")), "REFUSED");
  assert.equal(rcode(await ask("otherhello.test", "A")), "REFUSED");
  assert.equal(rcode(await ask("hello.test", "AXFR")), "REFUSED");
  assert.equal(rcode(await ask("hello.test", "A", { class: "CH" })), "REFUSED");
});

test("truncates what does not fit, and answers in full over TCP or with EDNS", async () => {
  const short = await ask("big.hello.test", "A");
  assert.deepEqual([short.flag_tc, short.answers?.length], [true, 0]);
  const long = await askTcp([query("big.hello.test", "A")]);
  assert.equal(long[0]?.answers?.length, 60);
  const many = await ask("hello.test", "TXT", { edns: 4096 });
  assert.equal(many.additionals?.[0]?.type, "OPT");
  assert.equal(many.flag_tc, false);
});

test("answers several queries on one TCP connection, and cuts off a frame that is too long", async () => {
  const two = await askTcp([query("hello.test", "A"), query("www.hello.test", "A")]);
  assert.deepEqual(
    two.map((answer) => data(answer).at(-1)),
    ["198.18.0.5", "198.18.0.5"],
  );
  assert.equal(await closedAfter(Buffer.from([0xff, 0xff, 1, 2, 3])), true);
  assert.equal(await closedAfter(Buffer.from([0, 4, 1, 2, 3, 4])), true);
});

test("survives hostile packets", async () => {
  const good = query("hello.test", "A");
  const hostile = [
    Buffer.alloc(0),
    Buffer.alloc(11),
    Buffer.alloc(12),
    Buffer.alloc(1400, 0xff),
    // A name that points to itself, a question count that is a lie, an answer as a question.
    Buffer.concat([good.subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]),
    Buffer.concat([Buffer.from([0, 1, 1, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]), good.subarray(12)]),
    Buffer.concat([Buffer.from([0, 1, 0x81, 0x80]), good.subarray(4)]),
    Buffer.concat([Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff]), good.subarray(12)]),
  ];
  for (let i = 0; i < 300; i += 1) hostile.push(randomBytes(i % 100));
  for (let i = 0; i < 300; i += 1) {
    const bent = Buffer.from(good);
    bent[i % bent.length] = randomBytes(1)[0] ?? 0;
    hostile.push(bent);
  }
  const socket = createSocket("udp4");
  for (const [index, packet] of hostile.entries()) {
    await new Promise((done) => socket.send(packet, port, "127.0.0.1", done));
    // So that the kernel's buffer drops none of them.
    if (index % 50 === 0) assert.deepEqual(data(await ask("hello.test", "A")), ["198.18.0.5"]);
  }
  await new Promise<void>((done) => socket.close(done));
  assert.deepEqual(data(await ask("hello.test", "A")), ["198.18.0.5"]);
  assert.deepEqual(logged, []);
});

test("says which port is taken", async () => {
  const other = createDnsServer({ zones, hostAddress: "198.18.63.253", log: () => {} });
  await assert.rejects(other.listen("127.0.0.1", port), /DNS port \d+ on 127\.0\.0\.1 is taken/);
  await other.close();
});

type Type = "A" | "AAAA" | "NS" | "MX" | "TXT" | "CAA" | "SRV" | "SOA" | "CNAME" | "AXFR";

function query(name: string, type: Type, options: { edns?: number; class?: "IN" | "CH" } = {}): Buffer {
  const flags = {
    udpPayloadSize: options.edns ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  const edns: Answer[] = options.edns === undefined ? [] : [{ type: "OPT", name: ".", ...flags }];
  const questions = [{ name, type, class: options.class ?? "IN" }];
  return encode({ type: "query", id: 7, flags: 0x0100, questions, additionals: edns });
}

function ask(
  name: string,
  type: Type,
  options: { edns?: number; class?: "IN" | "CH" } = {},
): Promise<ReturnType<typeof decode>> {
  return sendQuery(query(name, type, options));
}

function sendQuery(packet: Buffer): Promise<ReturnType<typeof decode>> {
  const socket = createSocket("udp4");
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error("no answer"));
    }, 3000);
    socket.on("message", (reply) => {
      clearTimeout(timer);
      socket.close();
      resolve(decode(reply));
    });
    socket.send(packet, port, "127.0.0.1");
  });
}

function askTcp(queries: readonly Buffer[]): Promise<ReturnType<typeof decode>[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let waiting = Buffer.alloc(0);
    const replies: ReturnType<typeof decode>[] = [];
    socket.on("error", reject);
    socket.on("data", (part) => {
      waiting = Buffer.concat([waiting, part]);
      while (waiting.length >= 2 && waiting.length >= 2 + waiting.readUInt16BE(0)) {
        const end = 2 + waiting.readUInt16BE(0);
        replies.push(decode(waiting.subarray(2, end)));
        waiting = waiting.subarray(end);
      }
      if (replies.length === queries.length) {
        socket.destroy();
        resolve(replies);
      }
    });
    for (const one of queries) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(one.length);
      // In two pieces, as a network may do it.
      socket.write(Buffer.concat([length, one.subarray(0, 5)]));
      socket.write(one.subarray(5));
    }
  });
}

function closedAfter(bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    socket.on("error", () => {});
    socket.on("close", () => resolve(true));
    socket.setTimeout(3000, () => {
      socket.destroy();
      resolve(false);
    });
  });
}

function data(packet: Packet): unknown[] {
  return (packet.answers ?? []).map((answer) => ("data" in answer ? answer.data : undefined));
}

function rcode(packet: Packet): string {
  return (packet as { rcode?: string }).rcode ?? "";
}
