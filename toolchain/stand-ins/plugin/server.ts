import grpc from "@grpc/grpc-js";
import engineRpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import pluginMessages from "@pulumi/pulumi/proto/plugin_pb.js";
import rpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import statusMessages from "@pulumi/pulumi/proto/status_pb.js";
import any from "google-protobuf/google/protobuf/any_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import structs from "google-protobuf/google/protobuf/struct_pb.js";
import { type AutoNaming, type CheckFailure, checkConfig, checkInputs, defaultsKey } from "./check.ts";
import { saveCompileCache } from "./compile-cache.ts";
import { type ChangeKind, differs, diffInputs } from "./diff.ts";
import { type Call, PartlyMade, type Plugin, type ResourceKind } from "./plugin.ts";
import { refusal } from "./stack.ts";
import { hasSecret, isUnknown, type Properties, reveal, revealAll, secret, unknown } from "./wire.ts";

type Struct = InstanceType<typeof structs.Struct>;

/** Options of every gRPC connection: user-data and command outputs may be large. */
export const grpcOptions = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

/**
 * Serves a plugin to the Pulumi engine: listens on a free port of 127.0.0.1 and prints it, as the engine expects.
 * Ends itself when the engine is gone. The engine's address is the last argument of the command line.
 */
export function servePlugin(plugin: Plugin): void {
  const server = new grpc.Server(grpcOptions);
  server.addService(rpc.ResourceProviderService, handlers(plugin, process.argv.at(-1) ?? ""));
  listen(server);
}

/** Binds a server to a free loopback port, prints the port, and ends the process with its parent. */
export function listen(server: grpc.Server): void {
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) {
      throw error;
    }
    process.stdout.write(`${port}\n`);
    saveCompileCache();
  });
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) {
      process.kill(process.pid, "SIGTERM");
    }
  }, 1000).unref();
}

/** A unary call's handler, from an async function; errors become gRPC errors without a stack. */
export function unary<Request, Response>(
  answer: (request: Request) => Promise<Response> | Response,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve(call.request)
      .then(answer)
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(asServiceError(error)),
      );
  };
}

function asServiceError(error: unknown): Partial<grpc.StatusObject> {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof TypeError || error instanceof ReferenceError) {
    process.stderr.write(`${error.stack}\n`);
  }
  const metadata = new grpc.Metadata();
  if (error instanceof PartlyMade) {
    metadata.add("grpc-status-details-bin", partlyMadeDetails(error));
  }
  return { code: grpc.status.UNKNOWN, details: message, metadata };
}

function partlyMadeDetails({ message, id, outputs }: PartlyMade): Buffer {
  const detail = new pb.ErrorResourceInitFailed().setId(id).setReasonsList([message]);
  detail.setProperties(encode(outputs));
  const packed = new any.Any();
  packed.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
  const status = new statusMessages.Status().setCode(grpc.status.UNKNOWN).setMessage(message).setDetailsList([packed]);
  return Buffer.from(status.serializeBinary());
}

function decode(struct: Struct | undefined): Properties {
  return (struct?.toJavaScript() ?? {}) as Properties;
}

function encode(properties: Properties): Struct {
  const defined = Object.entries(properties).filter(([, value]) => value !== undefined);
  return structs.Struct.fromJavaScript(
    Object.fromEntries(defined) as Parameters<typeof structs.Struct.fromJavaScript>[0],
  );
}

function handlers(plugin: Plugin, engineAddress: string): grpc.UntypedServiceImplementation {
  const stopping = new AbortController();
  const logger = engineLogger(engineAddress);
  const kindOf = (type: string): ResourceKind => {
    const kind = plugin.resources[type];
    if (kind === undefined) {
      throw new Error(`the ${plugin.schema.package} stand-in has no resource type ${type}`);
    }
    return kind;
  };
  const callFor = (urn: string): Call => ({
    urn,
    name: urn.split("::").at(-1) ?? urn,
    signal: stopping.signal,
    log: (line) => logger(urn, line, engine.LogSeverity.INFO, true),
    warn: (line) => logger(urn, line, engine.LogSeverity.WARNING, false),
  });
  return {
    handshake: unary((request: InstanceType<typeof pb.ProviderHandshakeRequest>) => {
      logger.connect(request.getEngineAddress());
      return new pb.ProviderHandshakeResponse().setAcceptSecrets(true).setSupportsAutonamingConfiguration(true);
    }),
    attach: unary((request: InstanceType<typeof pluginMessages.PluginAttach>) => {
      logger.connect(request.getAddress());
      return new empty.Empty();
    }),
    getPluginInfo: unary(() => new pluginMessages.PluginInfo().setVersion(plugin.version)),
    getSchema: unary(() => new pb.GetSchemaResponse().setSchema("{}")),
    cancel: unary(() => {
      stopping.abort(new Error("stopped on request"));
      return new empty.Empty();
    }),
    checkConfig: unary((request: InstanceType<typeof pb.CheckRequest>) => {
      const { inputs, failures } = checkConfig(plugin.schema, decode(request.getNews()));
      failures.push(...(plugin.checkConfig?.(revealAll(inputs)) ?? []));
      return checkResponse(inputs, failures);
    }),
    diffConfig: unary((request: InstanceType<typeof pb.DiffRequest>) => {
      const olds = revealAll(decode(request.getOldInputs()));
      const news = revealAll(decode(request.getNews()));
      const changed = Object.keys({ ...olds, ...news }).filter((key) => olds[key] !== news[key]);
      return diffResponse(new Map(changed.map((key) => [key, "update" as const])), [], false);
    }),
    configure: unary((request: InstanceType<typeof pb.ConfigureRequest>) => {
      plugin.configure(revealAll(decode(request.getArgs())));
      return new pb.ConfigureResponse()
        .setAcceptsecrets(true)
        .setSupportspreview(true)
        .setSupportsAutonamingConfiguration(true);
    }),
    check: unary((request: InstanceType<typeof pb.CheckRequest>) => {
      const type = typeOf(request.getUrn());
      const { inputs, failures } = checkInputs({
        schema: plugin.schema,
        type,
        facts: plugin.resources[type]?.facts ?? {},
        name: callFor(request.getUrn()).name,
        olds: decode(request.getOlds()),
        news: decode(request.getNews()),
        autoNaming: autoNaming(request),
      });
      if (failures.length === 0) {
        failures.push(...(plugin.resources[type]?.check?.(revealAll(inputs)) ?? []));
      }
      return checkResponse(inputs, failures);
    }),
    diff: unary((request: InstanceType<typeof pb.DiffRequest>) => {
      const type = typeOf(request.getUrn());
      const olds = decode(request.getOldInputs());
      const { facts } = kindOf(type);
      const difference = diffInputs(plugin.schema, type, facts, olds, decode(request.getNews()));
      return diffResponse(difference.changes, difference.replaces, difference.deleteBeforeReplace);
    }),
    create: unary(async (request: InstanceType<typeof pb.CreateRequest>) => {
      const type = typeOf(request.getUrn());
      const inputs = withoutDefaults(decode(request.getProperties()));
      if (request.getPreview()) {
        return new pb.CreateResponse().setProperties(encode(previewOutputs(plugin, type, {}, inputs)));
      }
      const made = await sealed(plugin, type, inputs, {}, () =>
        kindOf(type).create(revealAll(inputs), callFor(request.getUrn())),
      );
      return new pb.CreateResponse().setId(made.id).setProperties(encode(seal(plugin, type, inputs, {}, made.outputs)));
    }),
    update: unary(async (request: InstanceType<typeof pb.UpdateRequest>) => {
      const type = typeOf(request.getUrn());
      const inputs = withoutDefaults(decode(request.getNews()));
      const state = decode(request.getOlds());
      if (request.getPreview()) {
        return new pb.UpdateResponse().setProperties(encode(previewOutputs(plugin, type, state, inputs)));
      }
      const change = kindOf(type).update;
      if (change === undefined) {
        throw new Error(`${type} cannot be changed in place`);
      }
      const outputs = await sealed(plugin, type, inputs, state, () =>
        change(request.getId(), revealAll(state), revealAll(inputs), callFor(request.getUrn())),
      );
      return new pb.UpdateResponse().setProperties(encode(seal(plugin, type, inputs, state, outputs)));
    }),
    delete: unary(async (request: InstanceType<typeof pb.DeleteRequest>) => {
      const state = revealAll(decode(request.getProperties()));
      await kindOf(typeOf(request.getUrn())).delete?.(request.getId(), state, callFor(request.getUrn()));
      return new empty.Empty();
    }),
    read: unary(async (request: InstanceType<typeof pb.ReadRequest>) => {
      const type = typeOf(request.getUrn());
      const state = decode(request.getProperties());
      const inputs = decode(request.getInputs());
      const read = kindOf(type).read;
      const found =
        read === undefined ? state : await read(request.getId(), revealAll(state), callFor(request.getUrn()));
      if (found === undefined) {
        return new pb.ReadResponse();
      }
      return new pb.ReadResponse()
        .setId(request.getId())
        .setProperties(encode(seal(plugin, type, withoutDefaults(inputs), state, { ...found })))
        .setInputs(encode(read === undefined ? inputs : inputsFromState(plugin, type, inputs, found)));
    }),
    invoke: unary((request: InstanceType<typeof pb.InvokeRequest>) => {
      throw new Error(`the ${plugin.schema.package} stand-in has no function ${request.getTok()}`);
    }),
  };
}

/**
 * `urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME` -> `TYPE`. The program of a real stack does not start on stand-ins, but a `destroy`
 * or `refresh` asks the plugins alone: hence every step of another stack is refused here.
 */
function typeOf(urn: string): string {
  const refused = refusal(urn.split("::")[0]?.replace("urn:pulumi:", "") ?? "");
  if (refused !== undefined) {
    throw new Error(refused);
  }
  return urn.split("::")[2]?.split("$").at(-1) ?? "";
}

function withoutDefaults({ [defaultsKey]: _, ...inputs }: Properties): Properties {
  return inputs;
}

function checkResponse(inputs: Properties, failures: readonly CheckFailure[]): InstanceType<typeof pb.CheckResponse> {
  const list = failures.map(({ property, reason }) => new pb.CheckFailure().setProperty(property).setReason(reason));
  return new pb.CheckResponse().setInputs(encode(inputs)).setFailuresList(list);
}

function autoNaming(request: InstanceType<typeof pb.CheckRequest>): AutoNaming | undefined {
  const options = request.getAutonaming();
  const modes = ["propose", "enforce", "disable"] as const;
  return options && { mode: modes[options.getMode()] ?? "propose", proposedName: options.getProposedName() };
}

function diffResponse(
  changes: ReadonlyMap<string, ChangeKind>,
  replaces: readonly string[],
  deleteBeforeReplace: boolean,
): InstanceType<typeof pb.DiffResponse> {
  const { DIFF_SOME, DIFF_NONE } = pb.DiffResponse.DiffChanges;
  const kinds = pb.PropertyDiff.Kind;
  const response = new pb.DiffResponse()
    .setChanges(changes.size > 0 ? DIFF_SOME : DIFF_NONE)
    .setReplacesList([...replaces])
    .setDiffsList([...changes.keys()])
    .setDeletebeforereplace(deleteBeforeReplace)
    .setHasdetaileddiff(true);
  const detailed = response.getDetaileddiffMap();
  for (const [key, kind] of changes) {
    const name = kind.replace("-", "_").toUpperCase() as keyof typeof kinds;
    detailed.set(key, new pb.PropertyDiff().setKind(kinds[name]).setInputdiff(true));
  }
  return response;
}

/** Outputs as far as they can be told before the update runs. */
function previewOutputs(plugin: Plugin, type: string, state: Properties, inputs: Properties): Properties {
  const spec = plugin.schema.resources[type];
  const made = Object.keys(state).length > 0;
  const volatile = made ? (plugin.resources[type]?.facts.volatile ?? []) : Object.keys(spec?.properties ?? {});
  const outputs: Properties = { ...state };
  for (const key of volatile) {
    outputs[key] = hasSecret(state[key]) || spec?.properties[key]?.secret ? secret(unknown) : unknown;
  }
  return { ...outputs, ...inputs };
}

/**
 * Outputs with their marks of secrecy: what the schema calls secret, what came in as a secret, and what was secret in the state.
 * Inputs that the resource's code did not answer with are added; an answer that means the same as its input is given as the input was.
 */
function seal(plugin: Plugin, type: string, inputs: Properties, state: Properties, outputs: Properties): Properties {
  const spec = plugin.schema.resources[type];
  const facts = plugin.resources[type]?.facts ?? {};
  const sealed: Properties = {};
  for (const [key, answer] of Object.entries({ ...inputs, ...outputs })) {
    const value = key in inputs && !differs(reveal(inputs[key]), answer, key, facts) ? inputs[key] : answer;
    if (value === undefined || value === null || !(key in (spec?.properties ?? {}))) {
      continue;
    }
    const hidden = spec?.properties[key]?.secret || hasSecret(inputs[key]) || hasSecret(state[key]);
    sealed[key] = hidden ? secret(reveal(value)) : value;
  }
  return sealed;
}

/** Runs a step; the outputs of a thing that is only partly made are marked as well. */
async function sealed<Result>(
  plugin: Plugin,
  type: string,
  inputs: Properties,
  state: Properties,
  step: () => Promise<Result>,
): Promise<Result> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof PartlyMade) {
      throw new PartlyMade(error.message, error.id, seal(plugin, type, inputs, state, error.outputs));
    }
    throw error;
  }
}

/**
 * Inputs as the real state has them, so that the next diff shows what was changed behind Pulumi's back. Imported things have
 * no inputs yet: they get every input property that the state has.
 */
function inputsFromState(plugin: Plugin, type: string, inputs: Properties, found: Properties): Properties {
  const spec = plugin.schema.resources[type];
  const keys = Object.keys(inputs).length > 0 ? Object.keys(inputs) : Object.keys(spec?.inputProperties ?? {});
  const result: Properties = { ...inputs };
  const facts = plugin.resources[type]?.facts ?? {};
  for (const key of keys.filter((name) => !facts.notReadBack?.includes(name))) {
    const value = found[key];
    if (
      differs(reveal(inputs[key]), value, key, facts) &&
      value !== undefined &&
      value !== null &&
      !isUnknown(value) &&
      key !== defaultsKey
    ) {
      result[key] = hasSecret(inputs[key]) || spec?.inputProperties[key]?.secret ? secret(value) : value;
    }
  }
  return result;
}

interface EngineLogger {
  (urn: string, message: string, severity: number, ephemeral: boolean): void;
  connect(address: string): void;
}

/** Lines for the engine's display, in order. Without an engine they are dropped. */
function engineLogger(initialAddress: string): EngineLogger {
  let address = initialAddress;
  let client: InstanceType<typeof engineRpc.EngineClient> | undefined;
  const log = (urn: string, message: string, severity: number, ephemeral: boolean): void => {
    if (!/:\d+$/.test(address)) {
      return;
    }
    client ??= new engineRpc.EngineClient(address, grpc.credentials.createInsecure(), grpcOptions);
    const request = new engine.LogRequest().setUrn(urn).setMessage(message).setEphemeral(ephemeral);
    request.setSeverity(severity as Parameters<typeof request.setSeverity>[0]);
    // A line that cannot be shown must not fail the step.
    client.log(request, () => undefined);
  };
  return Object.assign(log, {
    connect: (next: string) => {
      address = next || address;
    },
  });
}
