import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, test } from "node:test";
import { createGateway } from "../../local-cloud/gateway/gateway.ts";
import { raw } from "./raw-request.ts";
import { address, alias, soa, tableZones } from "./zones-support.ts";

const zones = tableZones({
  "hello.test": [soa, address("127.0.0.1")],
  "www.hello.test": [alias("hello.test")],
  "away.hello.test": [address("192.0.2.1")],
  "laptop.hello.test": [address("127.9.9.9")],
  "dead.hello.test": [address("127.0.0.2")],
  "mail.hello.test": [{ type: "MX", ttl: 60, data: "hello.test", priority: 1 }],
});
const seen: IncomingMessage[] = [];
let droplet: Server;
let dropletPort = 0;
let gateway: ReturnType<typeof createGateway>;
let port = 0;

before(async () => {
  droplet = createServer(serveAsDroplet);
  droplet.on("upgrade", (request, socket, head) => {
    seen.push(request);
    socket.on("error", () => socket.destroy());
    const accept = createHash("sha1").update(
      `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
    );
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`,
    );
    socket.write(head);
    socket.pipe(socket);
  });
  await new Promise<void>((done) => droplet.listen(0, "127.0.0.1", done));
  dropletPort = (droplet.address() as AddressInfo).port;
  // Only 127.0.0.0/30 stands for the droplets here.
  gateway = createGateway({ zones, port: 0, addressRange: "127.0.0.0/30", dropletPort, log: () => {} });
  port = await gateway.start();
});
after(async () => {
  await gateway.stop();
  droplet.closeAllConnections();
  droplet.close();
});

test("reaches the droplet of a domain, which sees its own name", async () => {
  const answer = await get("hello.test", "/page?a=1");
  assert.deepEqual([answer.status, answer.text], [200, "GET /page?a=1"]);
  const { headers } = last();
  assert.equal(headers.host, "hello.test");
  assert.equal(headers["x-forwarded-host"], `hello.test.localhost:${port}`);
  assert.equal(headers["x-forwarded-proto"], "http");
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
});

test("follows aliases and does not care for case", async () => {
  assert.equal((await get("www.hello.test", "/")).status, 200);
  assert.equal(last().headers.host, "www.hello.test");
  assert.equal((await raw(port, { path: "/", host: `HELLO.Test.LocalHost:${port}` })).status, 200);
});

test("does not believe what a client says of where it comes from", async () => {
  const headers = {
    "x-forwarded-for": "10.1.1.1",
    "x-forwarded-proto": "https",
    forwarded: "for=x",
    "x-real-ip": "10.1.1.1",
  };
  await get("hello.test", "/", headers);
  assert.equal(last().headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(last().headers["x-forwarded-proto"], "http");
  assert.equal(last().headers.forwarded, undefined);
  assert.equal(last().headers["x-real-ip"], undefined);
});

test("leads redirects to our domains back to the gateway, and no others", async () => {
  const location = async (to: string) =>
    (await get("hello.test", `/redirect?to=${encodeURIComponent(to)}`)).headers.location;
  assert.equal(await location("http://hello.test/x?y#z"), `http://hello.test.localhost:${port}/x?y#z`);
  assert.equal(await location("http://www.hello.test:80"), `http://www.hello.test.localhost:${port}`);
  assert.equal(await location("//hello.test/x"), `http://hello.test.localhost:${port}/x`);
  for (const kept of ["/relative", "https://hello.test/x", "http://other.example/x", "http://hello.test:8000/"]) {
    assert.equal(await location(kept), kept);
  }
});

test("maps the domain of cookies", async () => {
  const answer = await get("hello.test", "/cookies");
  assert.deepEqual(answer.headers["set-cookie"], [
    "a=1; Domain=hello.test.localhost; Path=/",
    "b=2; domain=other.example",
    "c=3; HttpOnly",
  ]);
});

test("streams in both directions, without waiting for the end", async () => {
  const socket = connect(port, "127.0.0.1");
  socket.write(`POST /echo HTTP/1.1\r\nHost: hello.test.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n`);
  await until(socket, "one");
  socket.write("3\r\ntwo\r\n");
  await until(socket, "two");
  socket.destroy();
});

test("carries a body of 20 MiB unharmed", async () => {
  const body = randomBytes(20 << 20);
  const answer = await raw(port, { method: "POST", path: "/hash", host: "hello.test.localhost", body });
  assert.equal(answer.text, createHash("sha256").update(body).digest("hex"));
});

test("carries websockets", async () => {
  const socket = connect(port, "127.0.0.1");
  const key = randomBytes(16).toString("base64");
  socket.write(
    `GET /socket HTTP/1.1\r\nHost: hello.test.localhost:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  assert.match(await until(socket, "\r\n\r\n"), /^HTTP\/1\.1 101 /);
  assert.equal(last().headers.host, "hello.test");
  socket.write("ping through");
  await until(socket, "ping through");
  socket.destroy();
});

test("lists the known domains, which are those that lead to a droplet", async () => {
  const start = await raw(port, { path: "/", host: `localhost:${port}` });
  assert.equal(start.status, 200);
  assert.ok(start.text.includes(`<a href="http://hello.test.localhost:${port}">hello.test</a>`));
  assert.ok(start.text.includes("www.hello.test"));
  assert.ok(!start.text.includes("mail.hello.test") && !start.text.includes("away.hello.test"));
});

test("answers an unknown domain with a page that lists the known ones", async () => {
  const answer = await get("nothing.test", "/");
  assert.equal(answer.status, 404);
  assert.ok(answer.text.includes("nothing.test") && answer.text.includes(`http://hello.test.localhost:${port}`));
  const hostile = await raw(port, { path: "/", host: "<script>alert(1)</script>.localhost" });
  assert.equal(hostile.status, 404);
  assert.ok(!hostile.text.includes("<script>"));
});

test("connects to droplets only", async () => {
  const before = seen.length;
  assert.equal((await get("away.hello.test", "/")).status, 404);
  assert.equal((await get("laptop.hello.test", "/")).status, 404);
  assert.equal(
    (await raw(port, { path: `http://127.0.0.1:${dropletPort}/`, host: "hello.test.localhost" })).status,
    404,
  );
  assert.equal((await raw(port, { path: "/", host: `127.0.0.1:${dropletPort}` })).status, 200);
  assert.equal((await raw(port, { path: "/", host: "attacker.example" })).status, 404);
  assert.match(await firstLine(`CONNECT 127.0.0.1:${dropletPort} HTTP/1.1\r\nHost: x\r\n\r\n`), / 405 /);
  assert.equal(seen.length, before);
});

test("says what to run when the droplet does not answer", async () => {
  const answer = await get("dead.hello.test", "/");
  assert.equal(answer.status, 502);
  assert.match(answer.text, /127\.0\.0\.2.*nothing listens there/);
  assert.match(answer.text, /npx chillbox cloud status/);
});

test("lives on when a client or a droplet breaks off", async () => {
  const socket = connect(port, "127.0.0.1");
  socket.write("GET /slow HTTP/1.1\r\nHost: hello.test.localhost\r\n\r\n");
  await until(socket, "begin");
  socket.destroy();
  await assert.rejects(get("hello.test", "/break"));
  assert.equal((await get("hello.test", "/")).status, 200);
});

test("says which port is taken", async () => {
  const other = createGateway({ zones, port, addressRange: "127.0.0.0/30", log: () => {} });
  await assert.rejects(other.start(), /Port \d+ on 127\.0\.0\.1 is taken/);
});

function serveAsDroplet(request: IncomingMessage, response: ServerResponse): void {
  seen.push(request);
  const url = new URL(request.url ?? "/", "http://droplet");
  if (url.pathname === "/redirect") response.writeHead(302, { location: url.searchParams.get("to") ?? "" }).end();
  else if (url.pathname === "/cookies") {
    response.setHeader("set-cookie", ["a=1; Domain=.hello.test; Path=/", "b=2; domain=other.example", "c=3; HttpOnly"]);
    response.end();
  } else if (url.pathname === "/echo") request.pipe(response);
  else if (url.pathname === "/slow") response.write("begin");
  else if (url.pathname === "/break") {
    response.writeHead(200, { "content-length": "100" }).write("some");
    setTimeout(() => response.destroy(), 50);
  } else if (url.pathname === "/hash") {
    const hash = createHash("sha256");
    request.on("data", (part) => hash.update(part)).on("end", () => response.end(hash.digest("hex")));
  } else response.end(`${request.method} ${request.url}`);
}

function get(domain: string, path: string, headers: Record<string, string> = {}) {
  return raw(port, { path, host: `${domain}.localhost:${port}`, headers });
}

function last(): IncomingMessage {
  const request = seen.at(-1);
  assert.ok(request);
  return request;
}

function until(socket: ReturnType<typeof connect>, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = "";
    const timer = setTimeout(() => reject(new Error(`"${text}" did not come: ${received}`)), 5000);
    socket.on("error", reject);
    socket.on("data", function read(part: Buffer) {
      received += part.toString();
      if (!received.includes(text)) return;
      clearTimeout(timer);
      socket.off("data", read);
      resolve(received);
    });
  });
}

async function firstLine(request: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(request);
  const line = await until(socket, "\r\n");
  socket.destroy();
  return line;
}
