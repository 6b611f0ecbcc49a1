import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import ssh from "ssh2";

/** An ssh server on loopback, of the library's own: the protocol is real, accounts and files are not touched. */
export interface TestServer {
  readonly port: number;
  /** One line as in authorized_keys. */
  readonly hostKey: string;
  /** Accepted for user `tester`. */
  readonly privateKey: string;
  /** Connections made so far. */
  connections(): number;
}

/** Starts a server that runs commands by `/bin/sh -c` and takes the variables of `acceptEnv` only; it ends with the test. */
export async function startSshServer(t: TestContext, acceptEnv: readonly string[] = []): Promise<TestServer> {
  const host = newKey();
  const user = newKey();
  let count = 0;
  const server = new ssh.Server({ hostKeys: [host.private] }, (client) => {
    count += 1;
    client.on("error", () => undefined);
    client.on("authentication", (context) => {
      const known = context.method === "publickey" && context.key.data.equals(user.blob);
      if (context.username === "tester" && known) {
        context.accept();
      } else {
        context.reject(["publickey"]);
      }
    });
    client.on("session", (accept) => serveSession(accept(), acceptEnv));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { port, hostKey: host.public, privateKey: user.private, connections: () => count };
}

function serveSession(session: ssh.Session, acceptEnv: readonly string[]): void {
  const environment: NodeJS.ProcessEnv = { PATH: process.env.PATH };
  session.on("env", (accept, reject, { key, val }) => {
    if (acceptEnv.includes(key)) {
      environment[key] = val;
      accept?.();
    } else {
      reject?.();
    }
  });
  session.on("exec", (accept, _reject, { command }) => {
    const channel = accept();
    const child = spawn("/bin/sh", ["-c", command], { env: environment, stdio: ["pipe", "pipe", "pipe"] });
    child.stdin.on("error", () => undefined);
    channel.pipe(child.stdin);
    child.stdout.pipe(channel, { end: false });
    child.stderr.pipe(channel.stderr, { end: false });
    child.on("close", (code, signal) => {
      if (code === null) {
        channel.exit((signal ?? "TERM").replace("SIG", ""));
      } else {
        channel.exit(code);
      }
      channel.end();
    });
  });
}

/** A new ed25519 key pair. */
export function newKey(): { private: string; public: string; blob: Buffer } {
  const { privateKey } = generateKeyPairSync("ed25519");
  const seed = privateKey.export({ format: "jwk" });
  const raw = (part: string | undefined) => Buffer.from(part ?? "", "base64url");
  return openSshKey(raw(seed.d), raw(seed.x));
}

/** Writes a key in OpenSSH's own form, the only one that ssh2 reads for ed25519. Source: OpenSSH's PROTOCOL.key. */
function openSshKey(seed: Buffer, point: Buffer): { private: string; public: string; blob: Buffer } {
  const uint = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string | Buffer) => Buffer.concat([uint(Buffer.byteLength(value)), Buffer.from(value)]);
  const type = "ssh-ed25519";
  const blob = Buffer.concat([text(type), text(point)]);
  const plain = [uint(7), uint(7), text(type), text(point), text(Buffer.concat([seed, point])), text("test")];
  const length = plain.reduce((sum, part) => sum + part.length, 0);
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7]).subarray(0, (8 - (length % 8)) % 8);
  const head = ["openssh-key-v1\0", text("none"), text("none"), text(""), uint(1), text(blob)];
  const body = text(Buffer.concat([...plain, padding]));
  const whole = Buffer.concat([...head.map((part) => Buffer.from(part)), body]).toString("base64");
  const lines = whole.match(/.{1,70}/g) ?? [];
  const label = "OPENSSH PRIVATE KEY";
  return {
    private: `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`,
    public: `${type} ${blob.toString("base64")} test`,
    blob,
  };
}
