import type { CheckFailure } from "./check.ts";
import type { PackageSchema, ResourceFacts } from "./schema.ts";
import type { Properties } from "./wire.ts";

/** What a resource's code gets from the server beside its properties. All values it sees are plain: no marks of secrecy. */
export interface Call {
  readonly urn: string;
  /** The resource's name in the program. */
  readonly name: string;
  /** Ends when the engine asks to stop. */
  readonly signal: AbortSignal;
  /** Shows a line beside the resource while it is worked on. */
  log(line: string): void;
  /** Shows a warning that stays. */
  warn(line: string): void;
}

/** A resource that was made. */
export interface Created {
  readonly id: string;
  /** Outputs; inputs are added by the server. */
  readonly outputs: Properties;
}

/** What a resource type does. Failures are thrown. */
export interface ResourceKind {
  readonly facts: ResourceFacts;
  /** Rules that the schema cannot say; gets the inputs plain, some perhaps not known yet. */
  check?(inputs: Properties): CheckFailure[];
  create(inputs: Properties, call: Call): Promise<Created>;
  /** The present state, or `undefined` when the thing is gone. `state` is empty when it is being imported. */
  read?(id: string, state: Properties, call: Call): Promise<Properties | undefined>;
  /** Changes the thing and returns its outputs. */
  update?(id: string, state: Properties, inputs: Properties, call: Call): Promise<Properties>;
  delete?(id: string, state: Properties, call: Call): Promise<void>;
}

/** A provider plugin. */
export interface Plugin {
  readonly version: string;
  readonly schema: PackageSchema;
  readonly resources: Readonly<Record<string, ResourceKind>>;
  /** Takes the plain configuration. Throws when it cannot be used. */
  configure(config: Properties): void;
  /** Faults in a configuration of which parts may not be known yet. */
  checkConfig?(config: Properties): CheckFailure[];
}

/** The thing exists, but is not as it should be: the engine keeps it in its state and tries again with the next `up`. */
export class PartlyMade extends Error {
  override readonly name = "PartlyMade";
  readonly id: string;
  readonly outputs: Properties;

  constructor(message: string, id: string, outputs: Properties) {
    super(message);
    this.id = id;
    this.outputs = outputs;
  }
}
