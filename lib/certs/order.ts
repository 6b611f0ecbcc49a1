import { Agent } from "node:https";
import acme from "acme-client";
import { UserError } from "../user-error.ts";
import type { Window } from "./due.ts";

/** An ACME server, and who asks it. */
export interface Authority {
  /** URL of its directory. */
  readonly directory: string;
  /** Roots by which it is known, PEM; null: those of the system. */
  readonly ca: string | null;
  /** Where it is really, in place of what its name says. */
  readonly at?: { readonly address: string; readonly port: number };
}

export interface Order {
  readonly authority: Authority;
  /** PEM. */
  readonly accountKey: string;
  readonly email: string;
  readonly names: readonly string[];
  /** PEM. */
  readonly csr: string;
  /** What the CA knows the certificate by that the new one is in place of. */
  readonly replaces?: string;
}

/** A text that the CA wants to find in DNS. */
export interface Challenge {
  /** Such as `_acme-challenge.example.com`. */
  readonly name: string;
  readonly value: string;
}

/** No request takes longer; a CA that says "later" is not asked again here. */
const patience = 30_000;

/**
 * Orders a certificate by challenges in DNS.
 * @param publish puts texts into DNS and returns when everybody finds them
 * @returns the certificate and those that vouch for it, PEM
 * @throws UserError with the CA's reason
 */
export async function order(
  { authority, accountKey, email, names, csr, replaces }: Order,
  publish: (challenges: readonly Challenge[]) => Promise<void>,
): Promise<string> {
  reach(authority);
  const client = new acme.Client({
    directoryUrl: authority.directory,
    accountKey,
    backoffAttempts: 20,
    backoffMin: 1000,
    backoffMax: 10_000,
  });
  try {
    await client.createAccount({ termsOfServiceAgreed: true, contact: [`mailto:${email}`] });
    const identifiers = names.map((value) => ({ type: "dns" as const, value }));
    const begin = (more: object) => client.createOrder({ identifiers, ...more });
    // A CA that has forgotten the old certificate, or had another one put in its place, still gives a new one.
    const begun = replaces === undefined ? await begin({}) : await begin({ replaces }).catch(() => begin({}));
    const open = (await client.getAuthorizations(begun)).filter(({ status }) => status !== "valid");
    const challenges = await Promise.all(
      open.map(async ({ identifier, challenges }) => {
        const challenge = challenges.find(({ type }) => type === "dns-01");
        if (!challenge) throw new UserError(`the CA offers no challenge by DNS for ${identifier.value}`);
        const value = await client.getChallengeKeyAuthorization(challenge);
        return { challenge, name: `_acme-challenge.${identifier.value}`, value };
      }),
    );
    if (challenges.length > 0) await publish(challenges.map(({ name, value }) => ({ name, value })));
    for (const { challenge } of challenges) await client.completeChallenge(challenge);
    for (const { challenge } of challenges) await client.waitForValidStatus(challenge);
    return await client.getCertificate(await client.finalizeOrder(begun, csr));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError((error as Error).message.replace(/\s+/g, " ").trim());
  }
}

/** When the CA suggests to renew a certificate; `undefined` when it does not say. */
export async function askWindow(authority: Authority, id: string): Promise<Window | undefined> {
  reach(authority);
  try {
    const { renewalInfo } = await get<{ renewalInfo?: string }>(authority.directory);
    if (!renewalInfo) return undefined;
    const { suggestedWindow } = await get<{ suggestedWindow: { start: string; end: string } }>(`${renewalInfo}/${id}`);
    const window = { start: Date.parse(suggestedWindow.start), end: Date.parse(suggestedWindow.end) };
    return Number.isFinite(window.start + window.end) ? window : undefined;
  } catch {
    return undefined;
  }
}

async function get<Answer>(url: string): Promise<Answer> {
  const { data, status } = await acme.axios.get(url);
  if (status !== 200) throw new Error(`${url} answers ${status}`);
  return data as Answer;
}

/** The library has one way out for all that it asks. */
function reach({ ca, at }: Authority): void {
  const { defaults } = acme.axios as typeof acme.axios & { defaults: { acmeSettings: { retryMaxAttempts: number } } };
  // It would wait as long as a busy CA says, which may be hours.
  defaults.acmeSettings.retryMaxAttempts = 0;
  defaults.timeout = patience;
  const agent = new Agent(ca === null ? {} : { ca });
  if (at) {
    const connect = agent.createConnection.bind(agent);
    agent.createConnection = (options, callback) => {
      return connect({ ...options, host: at.address, port: at.port, path: undefined } as typeof options, callback);
    };
    defaults.proxy = false;
  }
  defaults.httpsAgent = agent;
}
