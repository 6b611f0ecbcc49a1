import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { execa } from "execa";
import { parse } from "yaml";

// Pulumi's generated stubs are CommonJS without types of their own.
const require = createRequire(import.meta.url);
const { ResourceMonitorService } = require("@pulumi/pulumi/proto/resource_grpc_pb.js");
const { RegisterResourceResponse, SupportsFeatureResponse } = require("@pulumi/pulumi/proto/resource_pb.js");
const { EngineService } = require("@pulumi/pulumi/proto/engine_grpc_pb.js");
const { SetRootResourceResponse } = require("@pulumi/pulumi/proto/engine_pb.js");
const { Empty } = require("google-protobuf/google/protobuf/empty_pb.js");

/**
 * Runs the program as the language host does until it asks for its first resource, and ends it there.
 * @param folder of the project
 * @param config of the stack, decrypted: keys without the project's name, and what differs from the defaults in `Pulumi.yaml`
 * @returns seconds from the start of node to the first request for a resource other than the stack itself
 */
export async function programStart(folder: string, config: Record<string, string>): Promise<number> {
  const { port, firstResource, server } = await listen();
  const start = performance.now();
  const address = `127.0.0.1:${port}`;
  const run = join(folder, "node_modules/@pulumi/pulumi/cmd/run");
  const plainStacks = join(folder, "toolchain/stand-ins/language-host/plain-stacks.mjs");
  const first = ["--import", plainStacks, ...projectFile(folder).runtime.options.nodeargs.split(" ")];
  const options = [
    "--monitor",
    address,
    "--engine",
    address,
    "--project",
    "chillbox",
    "--stack",
    "local",
    "--parallel",
    "4",
  ];
  const program = execa(process.execPath, [...first, run, ...options, "--pwd", folder, folder], {
    cwd: folder,
    env: {
      PULUMI_CONFIG: JSON.stringify(withDefaults(folder, config)),
      PULUMI_CONFIG_SECRET_KEYS: "[]",
      // As the stand-in for the language host sets it.
      NODE_COMPILE_CACHE: join(folder, ".chillbox/pulumi/compile-cache"),
    },
    reject: false,
    all: true,
  });
  const ended = program.then(({ all }) => {
    throw new Error(`the program ended before it asked for a resource:\n${all}`);
  });
  ended.catch(() => {});
  try {
    await Promise.race([firstResource, ended]);
    return (performance.now() - start) / 1000;
  } finally {
    program.kill("SIGKILL");
    await program;
    server.forceShutdown();
  }
}

/** The engine fills in the defaults of `Pulumi.yaml`: text as it is, everything else as JSON. */
function withDefaults(folder: string, config: Record<string, string>): Record<string, string> {
  const { config: keys } = projectFile(folder);
  const defaults = Object.entries(keys).filter(([, { default: value }]) => value !== undefined);
  const texts = defaults.map(([key, { default: value }]) => [
    key,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  const all = { ...(Object.fromEntries(texts) as Record<string, string>), ...config };
  return Object.fromEntries(Object.entries(all).map(([key, value]) => [`chillbox:${key}`, value]));
}

function projectFile(folder: string): ProjectFile {
  return parse(readFileSync(join(folder, "Pulumi.yaml"), "utf8")) as ProjectFile;
}

interface ProjectFile {
  readonly runtime: { readonly options: { readonly nodeargs: string } };
  readonly config: Record<string, { readonly default?: unknown }>;
}

/** As much of Pulumi's engine as the program speaks to until its first resource. */
async function listen(): Promise<{ port: number; firstResource: Promise<void>; server: Server }> {
  const server = new Server();
  const { promise: firstResource, resolve } = Promise.withResolvers<void>();
  server.addService(ResourceMonitorService, {
    supportsFeature: (_: unknown, answer: sendUnaryData<unknown>) => {
      answer(null, new SupportsFeatureResponse().setHassupport(true));
    },
    registerResource: (call: ServerUnaryCall<Registration, unknown>, answer: sendUnaryData<unknown>) => {
      if (call.request.getType() !== "pulumi:pulumi:Stack") return resolve();
      answer(
        null,
        new RegisterResourceResponse().setUrn("urn:pulumi:local::chillbox::pulumi:pulumi:Stack::chillbox-local"),
      );
    },
    registerResourceOutputs: (_: unknown, answer: sendUnaryData<unknown>) => answer(null, new Empty()),
    registerStackTransform: (_: unknown, answer: sendUnaryData<unknown>) => answer(null, new Empty()),
  });
  server.addService(EngineService, {
    log: (call: ServerUnaryCall<LogRequest, unknown>, answer: sendUnaryData<unknown>) => {
      if (call.request.getSeverity() > debug) console.error(call.request.getMessage());
      answer(null, new Empty());
    },
    setRootResource: (_: unknown, answer: sendUnaryData<unknown>) => answer(null, new SetRootResourceResponse()),
  });
  const port = await new Promise<number>((done, fail) => {
    const credentials = ServerCredentials.createInsecure();
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? fail(error) : done(bound)));
  });
  return { port, firstResource, server };
}

/** `LogSeverity.DEBUG` of Pulumi's engine.proto. */
const debug = 0;

interface LogRequest {
  getSeverity(): number;
  getMessage(): string;
}

interface Registration {
  getType(): string;
}
