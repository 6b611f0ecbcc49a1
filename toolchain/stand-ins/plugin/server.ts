import grpc from "@grpc/grpc-js";
import pluginMessages from "@pulumi/pulumi/proto/plugin_pb.js";
import rpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import { checkConfig, checkInputs, defaultsKey } from "./check.ts";
import { diffInputs } from "./diff.ts";
import { engineLogger } from "./engine-log.ts";
import { grpcOptions, listen, unary } from "./grpc.ts";
import { autoNaming, checkResponse, decode, diffResponse, encode } from "./messages.ts";
import { inputsFromState, previewOutputs, seal, sealed } from "./outputs.ts";
import type { Call, Plugin, ResourceKind } from "./plugin.ts";
import { refusal } from "./stack.ts";
import { type Properties, revealAll } from "./wire.ts";

/**
 * Serves a plugin to the Pulumi engine: listens on a free port of 127.0.0.1 and prints it, as the engine expects.
 * Ends itself when the engine is gone. The engine's address is the last argument of the command line.
 */
export function servePlugin(plugin: Plugin): void {
  const server = new grpc.Server(grpcOptions);
  server.addService(rpc.ResourceProviderService, handlers(plugin, process.argv.at(-1) ?? ""));
  listen(server);
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
    log: (line) => logger(urn, line, "INFO", true),
    warn: (line) => logger(urn, line, "WARNING", false),
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
