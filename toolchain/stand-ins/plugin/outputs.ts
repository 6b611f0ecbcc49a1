import { defaultsKey } from "./check.ts";
import { differs } from "./diff.ts";
import { PartlyMade, type Plugin } from "./plugin.ts";
import { hasSecret, isUnknown, type Properties, reveal, secret, unknown } from "./wire.ts";

/** Outputs as far as they can be told before the update runs. */
export function previewOutputs(plugin: Plugin, type: string, state: Properties, inputs: Properties): Properties {
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
export function seal(
  plugin: Plugin,
  type: string,
  inputs: Properties,
  state: Properties,
  outputs: Properties,
): Properties {
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
export async function sealed<Result>(
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
export function inputsFromState(plugin: Plugin, type: string, inputs: Properties, found: Properties): Properties {
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
