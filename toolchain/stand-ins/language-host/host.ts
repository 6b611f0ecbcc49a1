import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import rpc from "@pulumi/pulumi/proto/language_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/language_pb.js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import { configProblem } from "../../../lib/config-size.ts";
import { compileCacheFolder } from "../plugin/compile-cache.ts";
import { grpcOptions, listen, unary } from "../plugin/grpc.ts";
import { refusal } from "../plugin/stack.ts";
import { findPackages, findPluginPackages, type InstalledPackage } from "./packages.ts";

/** Exit status of a program that has told the user already what went wrong. */
const alreadyTold = 32;

type RunRequest = InstanceType<typeof pb.RunRequest>;

/** Serves the language host to the engine, of which the address is the last argument of the command line. */
export function serveLanguageHost(): void {
  const server = new grpc.Server(grpcOptions);
  server.addService(rpc.LanguageRuntimeService, handlers(process.argv.at(-1) ?? ""));
  listen(server);
}

function handlers(firstEngineAddress: string): grpc.UntypedServiceImplementation {
  let engineAddress = firstEngineAddress;
  const running = new Set<ChildProcess>();
  const stopPrograms = (): void => {
    for (const child of running) {
      child.kill("SIGTERM");
    }
  };
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.once(name, () => {
      stopPrograms();
      process.exit(1);
    });
  }
  return {
    handshake: unary((request: InstanceType<typeof pb.LanguageHandshakeRequest>) => {
      engineAddress = request.getEngineAddress() || engineAddress;
      return new pb.LanguageHandshakeResponse();
    }),
    getPluginInfo: unary(() => new plugins.PluginInfo().setVersion("")),
    getRequiredPlugins: unary((request: InstanceType<typeof pb.GetRequiredPluginsRequest>) =>
      new pb.GetRequiredPluginsResponse().setPluginsList(
        requiredPackages(request.getInfo()).map(({ plugin, version }) =>
          new plugins.PluginDependency().setName(plugin).setKind("resource").setVersion(`v${version}`),
        ),
      ),
    ),
    getRequiredPackages: unary((request: InstanceType<typeof pb.GetRequiredPackagesRequest>) =>
      new pb.GetRequiredPackagesResponse().setPackagesList(
        requiredPackages(request.getInfo()).map(({ plugin, version }) =>
          new plugins.PackageDependency().setName(plugin).setKind("resource").setVersion(`v${version}`),
        ),
      ),
    ),
    getProgramDependencies: unary((request: InstanceType<typeof pb.GetProgramDependenciesRequest>) =>
      new pb.GetProgramDependenciesResponse().setDependenciesList(
        findPackages(request.getInfo()?.getRootDirectory() ?? process.cwd()).map(({ name, version }) =>
          new pb.DependencyInfo().setName(name).setVersion(version),
        ),
      ),
    ),
    about: unary(() => new pb.AboutResponse().setExecutable(process.execPath).setVersion(process.version)),
    runtimeOptionsPrompts: unary(() => new pb.RuntimeOptionsResponse()),
    template: unary(() => new pb.TemplateResponse()),
    cancel: unary(() => {
      stopPrograms();
      return new empty.Empty();
    }),
    run: unary((request: RunRequest) => run(request, engineAddress, running)),
  };
}

function requiredPackages(info: InstanceType<typeof pb.ProgramInfo> | undefined): InstalledPackage[] {
  return findPluginPackages(info?.getRootDirectory() ?? process.cwd());
}

async function run(
  request: RunRequest,
  engineAddress: string,
  running: Set<ChildProcess>,
): Promise<InstanceType<typeof pb.RunResponse>> {
  const refused = refusal(request.getStack());
  if (refused !== undefined) {
    return new pb.RunResponse().setError(refused);
  }
  const config = Object.fromEntries(request.getConfigMap().getEntryList() as [string, string][]);
  // Linux would refuse to start the program, in words that help nobody.
  const tooLarge = configProblem(config);
  if (tooLarge !== undefined) return new pb.RunResponse().setError(tooLarge);
  const child = spawn(process.execPath, programArguments(request, engineAddress), {
    cwd: request.getPwd() || process.cwd(),
    env: programEnvironment(request, config),
    stdio: ["ignore", "inherit", "inherit"],
  });
  running.add(child);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status, name) => resolve([status, name]));
  });
  running.delete(child);
  if (code === alreadyTold) {
    return new pb.RunResponse().setBail(true);
  }
  if (code !== 0) {
    const cause = signal === null ? `exited with status ${code}` : `was ended by ${signal}`;
    return new pb.RunResponse().setError(`the program ${cause}`);
  }
  return new pb.RunResponse();
}

/** Arguments of `@pulumi/pulumi/cmd/run`, which loads the program and waits until all its resources are registered. */
function programArguments(request: RunRequest, engineAddress: string): string[] {
  const root = request.getInfo()?.getRootDirectory() || request.getPwd();
  const entry = request.getInfo()?.getEntryPoint() || request.getProgram() || ".";
  const options = {
    monitor: request.getMonitorAddress(),
    engine: engineAddress,
    organization: request.getOrganization(),
    project: request.getProject(),
    stack: request.getStack(),
    pwd: request.getPwd(),
    parallel: String(request.getParallel()),
  };
  const flags = Object.entries(options).flatMap(([name, value]) => (value === "" ? [] : [`--${name}`, value]));
  const dryRun = request.getDryrun() ? ["--dry-run"] : [];
  const program = join(request.getInfo()?.getProgramDirectory() || request.getPwd(), entry);
  const runner = join(root, "node_modules/@pulumi/pulumi/cmd/run");
  return [
    "--import",
    import.meta.resolve("./plain-stacks.mjs"),
    ...nodeArguments(request),
    runner,
    ...flags,
    ...dryRun,
    program,
    ...request.getArgsList(),
  ];
}

/** The runtime option `nodeargs` of `Pulumi.yaml`; words with blanks in them are not needed here. */
function nodeArguments(request: RunRequest): string[] {
  const { nodeargs } = request.getInfo()?.getOptions()?.toJavaScript() ?? {};
  return typeof nodeargs === "string" ? nodeargs.split(/\s+/).filter(Boolean) : [];
}

function programEnvironment(request: RunRequest, config: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return {
    ...process.env,
    // Pulumi's SDKs are large: compiled once, they load in half the time.
    ...(compileCacheFolder() && { NODE_COMPILE_CACHE: compileCacheFolder() }),
    CHILLBOX_STAND_IN: "1",
    PULUMI_CONFIG: JSON.stringify(config),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
  };
}
