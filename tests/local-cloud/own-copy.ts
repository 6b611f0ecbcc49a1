import { mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LocalCloudSettings, localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { checkRange } from "../../local-cloud/preflight.ts";

/** Settings of a copy of the local cloud for one test: a home folder of its own, free ports, and addresses that nobody routes. */
export async function ownCopy(driver: LocalCloudSettings["dropletDriver"] = "namespace"): Promise<LocalCloudSettings> {
  const home = mkdtempSync(join(tmpdir(), "chillbox-cloud-"));
  for (;;) {
    const settings = localCloudSettings({
      CHILLBOX_HOME: home,
      CHILLBOX_DROPLET_DRIVER: driver,
      CHILLBOX_PORT_BASE: String(20_000 + 6 * randomBelow(1_600)),
      // 198.19.0.0/16, the half of RFC 2544's test range in which the default is not.
      CHILLBOX_ADDRESS_RANGE: `198.19.${16 * randomBelow(16)}.0/20`,
    });
    if ((await hasFreePorts(settings)) && (await hasFreeRange(settings))) {
      return settings;
    }
  }
}

async function hasFreePorts(settings: LocalCloudSettings): Promise<boolean> {
  const answers = await Promise.all(Object.values(settings.ports).map(isFree));
  return !answers.includes(false);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function hasFreeRange(settings: LocalCloudSettings): Promise<boolean> {
  return checkRange(settings).then(
    () => true,
    () => false,
  );
}

function randomBelow(limit: number): number {
  return Math.floor(Math.random() * limit);
}
