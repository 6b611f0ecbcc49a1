import { UserError } from "../user-error.ts";

/** What every kind of service is rendered from, besides its entry in the site file. */
export interface ServiceParts {
  /** What an error calls the service: the site file, and the service's name. */
  readonly where: string;
  /** Variables of its processes, with every reference replaced. */
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * The port that a variable of the service's environment names.
 * @throws UserError when there is none, or it is not from 1024 to 65535
 */
export function readPort(name: string, environment: ServiceParts["environment"], where: string): number {
  const text = environment[name];
  const port = Number(text);
  if (text !== undefined && /^\d+$/.test(text) && port >= 1024 && port <= 65535) return port;
  throw new UserError(
    text === undefined
      ? `${where} has no ${name} in its "environment". Add one between 1024 and 65535.`
      : `${where} has the ${name} "${text}". Give one between 1024 and 65535.`,
  );
}
