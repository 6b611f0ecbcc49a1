import type { Tool } from "../tool.ts";
import { ansible, ansibleLint } from "./ansible.ts";
import { debianPackages, debianPackagesToTest } from "./debian-packages.ts";
import { image } from "./image.ts";
import { pebble } from "./pebble.ts";
import { plugins } from "./plugins.ts";
import { pulumi } from "./pulumi.ts";
import { serverWheels } from "./server-wheels.ts";
import { sshAudit } from "./ssh-audit.ts";
import { versitygw } from "./versitygw.ts";
import { wheels } from "./wheels.ts";

/** Every tool, in the order in which `doctor` lists them. */
export const allTools: readonly Tool[] = [
  debianPackages,
  pulumi,
  ...plugins,
  versitygw,
  pebble,
  ansible,
  wheels,
  image,
  serverWheels,
  debianPackagesToTest,
  ansibleLint,
  sshAudit,
];

const onlyInAudit: readonly Tool[] = [sshAudit];
const onlyInTests: readonly Tool[] = [debianPackagesToTest, ansibleLint, ...onlyInAudit];

/** What plain Pulumi commands need. */
export const toDeploy: readonly string[] = [debianPackages, pulumi, ...plugins, ansible, wheels].map(
  (tool) => tool.name,
);
/** What `npm run up` needs. */
export const toRun: readonly string[] = allTools.filter((tool) => !onlyInTests.includes(tool)).map((tool) => tool.name);
/** What `npm test` needs. */
export const toTest: readonly string[] = allTools
  .filter((tool) => !onlyInAudit.includes(tool))
  .map((tool) => tool.name);
/** What `npm run audit` needs. */
export const toAudit: readonly string[] = [...toRun, ...onlyInAudit.map((tool) => tool.name)];
