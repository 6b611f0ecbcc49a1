import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gatewayHost, type LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import type { SiteFile } from "../lib/site-file.ts";

/** How a site answered from outside. */
export interface SiteAnswer {
  readonly slug: string;
  /** What a person opens. */
  readonly address: string;
  /** HTTP status, or why there is none. */
  readonly status: number | string;
}

const MILLISECONDS = 5000;

/** Asks the first page of each site through the gateway, once more for up to 5 s where it does not answer yet. */
export async function askSites(settings: LocalCloudSettings, sites: readonly SiteFile[]): Promise<SiteAnswer[]> {
  return Promise.all(
    sites.map(async (site) => {
      const host = gatewayHost(settings, site);
      return { slug: site.slug, address: `http://${host}`, status: await askUntilItAnswers(settings, host) };
    }),
  );
}

/** Whether a page came: a redirect to one will do. */
export function isPage(status: number | string): boolean {
  return typeof status === "number" && status < 400;
}

async function askUntilItAnswers(settings: LocalCloudSettings, host: string): Promise<number | string> {
  const end = Date.now() + MILLISECONDS;
  for (;;) {
    const status = await ask(settings.ports.gateway, host);
    if (isPage(status) || Date.now() > end) return status;
    await sleep(250);
  }
}

/** Names under .localhost are this machine in every browser, but not for every resolver. */
function ask(port: number, host: string): Promise<number | string> {
  return new Promise((resolve) => {
    const question = request({ host: "127.0.0.1", port, path: "/", headers: { host }, timeout: MILLISECONDS });
    question.on("response", (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    question.on("timeout", () => question.destroy(new Error("no answer within 5 s")));
    question.on("error", (error) => resolve(error.message));
    question.end();
  });
}
