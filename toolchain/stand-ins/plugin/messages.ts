import grpc from "@grpc/grpc-js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import statusMessages from "@pulumi/pulumi/proto/status_pb.js";
import any from "google-protobuf/google/protobuf/any_pb.js";
import structs from "google-protobuf/google/protobuf/struct_pb.js";
import type { AutoNaming, CheckFailure } from "./check.ts";
import type { ChangeKind } from "./diff.ts";
import type { PartlyMade } from "./plugin.ts";
import type { Properties } from "./wire.ts";

type Struct = InstanceType<typeof structs.Struct>;

/** The properties in a message; none when the field was not set. */
export function decode(struct: Struct | undefined): Properties {
  return (struct?.toJavaScript() ?? {}) as Properties;
}

/** Properties for a message; undefined ones are left out. */
export function encode(properties: Properties): Struct {
  const defined = Object.entries(properties).filter(([, value]) => value !== undefined);
  return structs.Struct.fromJavaScript(
    Object.fromEntries(defined) as Parameters<typeof structs.Struct.fromJavaScript>[0],
  );
}

/** The answer to a check. */
export function checkResponse(
  inputs: Properties,
  failures: readonly CheckFailure[],
): InstanceType<typeof pb.CheckResponse> {
  const list = failures.map(({ property, reason }) => new pb.CheckFailure().setProperty(property).setReason(reason));
  return new pb.CheckResponse().setInputs(encode(inputs)).setFailuresList(list);
}

/** How the stack's configuration wants names to be made up, if it says so. */
export function autoNaming(request: InstanceType<typeof pb.CheckRequest>): AutoNaming | undefined {
  const options = request.getAutonaming();
  const modes = ["propose", "enforce", "disable"] as const;
  return options && { mode: modes[options.getMode()] ?? "propose", proposedName: options.getProposedName() };
}

/** The answer to a diff, with the kind of each change. */
export function diffResponse(
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

/** Tells the engine of a thing that exists but is not well, as details of the gRPC error. */
export function partlyMadeDetails({ message, id, outputs }: PartlyMade): Buffer {
  const detail = new pb.ErrorResourceInitFailed().setId(id).setReasonsList([message]);
  detail.setProperties(encode(outputs));
  const packed = new any.Any();
  packed.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
  const status = new statusMessages.Status().setCode(grpc.status.UNKNOWN).setMessage(message).setDetailsList([packed]);
  return Buffer.from(status.serializeBinary());
}
