import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { unknownSurroundings } from "../../../lib/manifest.ts";
import { checkSites } from "../../../lib/sites.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();

test("a site with chillbox's own name is refused before its release is built", async () => {
  const sites = join(folder, "sites");
  await mkdir(sites);
  const site = {
    name: "Shop",
    server_name: "shop.test",
    release: "./no-such-folder",
    contact: { owner: "o@shop.test", technical: "t@shop.test" },
    domain_list: ["shop.test", "box.test"],
  };
  await writeFile(join(sites, "shop.site.json"), JSON.stringify(site));
  const surroundings = unknownSurroundings({
    serverName: "box.test",
    techEmail: "t@box.test",
    manageDns: true,
    acmeServer: "https://acme.test/dir",
    tls: true,
    s3Endpoint: "http://nyc3.spaces.test",
  });
  const checking = checkSites({ folder: sites, artifactsFolder: join(folder, "built"), surroundings, log: () => {} });
  await assert.rejects(checking, {
    name: "UserError",
    message: /^The site "shop" has the domain box\.test, which is chillbox's own name\. .*"serverName"\.$/,
  });
});
