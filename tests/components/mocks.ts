import * as pulumi from "@pulumi/pulumi";

/** What a component asked the engine for. */
export interface RecordedResource {
  readonly type: string;
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: inputs are of every shape
  readonly inputs: Record<string, any>;
}

/** What a component wrote beside its inputs; a mock engine sees only inputs, so these are recorded by a transformation. */
export interface RecordedOptions {
  readonly type: string;
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: options of all kinds of resources
  readonly opts: any;
}

export const resources: RecordedResource[] = [];
export const options: RecordedOptions[] = [];

/** What local commands print, by script. A script that is not here prints "{}". */
const printed: Record<string, object> = {
  "make-random.ts": { hex: "0a1b2c3d" },
  "make-ssh-key.ts": { privateKey: "PRIVATE KEY\n", publicKey: "ssh-ed25519 AAAApublic chillbox" },
  "make-envelope.ts": { envelope: "ZW52ZWxvcGU=", sha256: "ee", privateKey: "ENVELOPE KEY" },
  "build-image.ts": { path: "/cache/alpine.qcow2.gz", digest: "dd" },
  "seal-secret.ts": { service: "api", file: "api.cfg", format: "envelope", sha256: "sealed", number: 5 },
  "put-release.ts": { artifact: { sha256: "put", size: 34, digest: "tree" }, by: "me@laptop" },
  "put-image.ts": { at: "2026-01-01T00:00:00Z" },
  "run.ts enrol": {
    hostKey: "ssh-ed25519 AAAAfinal",
    python: "3.13",
    platforms: ["musllinux_1_2_x86_64"],
    openssl: "3.5.8",
  },
};

/** What the cloud adds to the inputs. */
function answer({ type, name, inputs }: RecordedResource): Record<string, unknown> {
  switch (type) {
    case "command:local:Command": {
      const script = Object.keys(printed).find((word) => String(inputs.create).includes(`/${word}`));
      return { stdout: JSON.stringify(script ? printed[script] : {}), stderr: "" };
    }
    case "command:remote:Command": {
      const isKey = String(inputs.create).includes("chillbox-server-key");
      return { stdout: isKey ? JSON.stringify({ number: 1, publicKey: "PEM", fingerprint: "ff" }) : "", stderr: "" };
    }
    case "digitalocean:index/droplet:Droplet":
      return { ipv4Address: "198.51.100.7", dropletUrn: "do:droplet:7" };
    case "digitalocean:index/spacesBucket:SpacesBucket":
      return { bucketUrn: `do:space:${inputs.name}` };
    case "digitalocean:index/spacesKey:SpacesKey":
      return { accessKey: `${name}-access`, secretKey: `${name}-secret` };
    case "digitalocean:index/customImage:CustomImage":
      return { imageId: 42 };
    case "digitalocean:index/reservedIp:ReservedIp":
      return { ipAddress: "198.51.100.9" };
    case "digitalocean:index/vpc:Vpc":
      return { ipRange: "10.1.0.0/24" };
    case "digitalocean:index/domain:Domain":
      return { domainUrn: `do:domain:${inputs.name}` };
    default:
      return {};
  }
}

/**
 * Puts a recording engine in Pulumi's place. To be called before the code under test is imported. A call that nobody mocked throws.
 */
export async function useMocks(): Promise<void> {
  await pulumi.runtime.setMocks(
    {
      newResource: ({ type, name, inputs }) => {
        // Components are recorded, too: their absence of inputs is part of what they promise.
        const resource = { type, name, inputs: unwrap(inputs) as RecordedResource["inputs"] };
        resources.push(resource);
        const id = type === "digitalocean:index/droplet:Droplet" ? "7" : `${name}-id`;
        return { id, state: { ...inputs, ...answer(resource) } };
      },
      call: ({ token }) => {
        throw new Error(`${token} is not mocked`);
      },
    },
    "chillbox",
    "test",
  );
}

/** Calls `make` and waits until every resource that it led to is registered. */
export async function record<Result>(
  make: () => Promise<Result>,
): Promise<{ made: Result; resources: RecordedResource[] }> {
  resources.length = 0;
  options.length = 0;
  const made = await make();
  await pulumi.runtime.disconnect();
  return { made, resources: resources.filter(({ type }) => !type.startsWith("pulumi:")) };
}

/** Component options that record those of every child. */
export const recording: pulumi.ComponentResourceOptions = {
  transformations: [
    ({ type, name, opts }) => {
      options.push({ type, name, opts });
      return undefined;
    },
  ],
};

/** Resources as "type name", without those of the given types. */
export function listed(found: readonly RecordedResource[]): string[] {
  return found.map(({ type, name }) => `${type.replace(/^digitalocean:index\/\w+:/, "")} ${name}`).sort();
}

export function find(found: readonly RecordedResource[], name: string, type = ""): RecordedResource {
  const resource = found.find((candidate) => candidate.name === name && candidate.type.endsWith(type));
  if (!resource) throw new Error(`no resource "${name}" in ${listed(found).join(", ")}`);
  return resource;
}

export function optionsOf(name: string, type = ""): RecordedOptions["opts"] {
  return options.find((candidate) => candidate.name === name && candidate.type.endsWith(type))?.opts ?? {};
}

/** The value that an output gets. */
export function resolved<Value>(output: pulumi.Input<Value>): Promise<Value> {
  return new Promise((resolve) => {
    pulumi.output(output).apply((value) => resolve(value as Value));
  });
}

const secretMark = "4dabf18193072939515e22adb298388d";

/** Inputs as their providers see them. */
function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (value === null || typeof value !== "object") return value;
  const record = value as Record<string, unknown>;
  if (secretMark in record) return unwrap(record.value);
  return Object.fromEntries(Object.entries(record).map(([key, item]) => [key, unwrap(item)]));
}
