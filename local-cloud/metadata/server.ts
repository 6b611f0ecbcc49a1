import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import type { DropletRecord } from "../api/records.ts";
import type { Store } from "../api/store.ts";
import { metadataJson, metadataTree, type Tree } from "./tree.ts";

export interface MetadataDependencies {
  readonly store: Store;
  /** Addresses of name servers, as droplets reach them. Default: the gateway of the droplet's public interface. */
  readonly nameservers?: readonly string[];
}

const root = "/metadata/v1";

/**
 * The droplet metadata service (`http://169.254.169.254` inside a droplet), not listening yet. It knows the droplet by the address that
 * the request comes from, its public one; any other is answered 404. Plain text, as DigitalOcean's: an index is one child a line,
 * folders end in `/`, and an index asked for without that is redirected to the one with it.
 */
export function createMetadata({ store, nameservers }: MetadataDependencies): FastifyInstance {
  const app = Fastify({
    bodyLimit: 1024,
    requestTimeout: 10_000,
    forceCloseConnections: true,
    frameworkErrors: (_error, _request, reply) => void missing(reply as unknown as FastifyReply),
  });
  app.addHook("onSend", async (_request, reply) => {
    reply.header("x-content-type-options", "nosniff");
  });
  app.get("/*", (request, reply) => {
    const droplet = dropletAt(store, request.ip);
    const [path = ""] = request.url.split("?");
    if (droplet === undefined) return missing(reply);
    const facts = {
      droplet,
      nameservers: nameservers ?? [droplet.publicNic.gateway],
      reservedIp: reservedIp(store, droplet),
    };
    if (path === "/metadata/v1.json") return reply.type("application/json").send(metadataJson(facts));
    if (path === "/v1/maintenance_event") return reply.type("text/plain; charset=utf-8").send("");
    const found = `${path}/`.startsWith(`${root}/`) ? walk(metadataTree(facts), path.slice(root.length)) : undefined;
    if (found === undefined) return missing(reply);
    if (found.isFolderWithoutSlash) return reply.redirect(`${path}/`, 301);
    return reply.type("text/plain; charset=utf-8").send(found.text);
  });
  app.setNotFoundHandler((_request, reply) => missing(reply));
  app.setErrorHandler((_error, _request, reply) => missing(reply));
  return app;
}

function missing(reply: FastifyReply): FastifyReply {
  return reply.status(404).type("text/plain; charset=utf-8").send("404 Not Found");
}

function dropletAt(store: Store, source: string): DropletRecord | undefined {
  const address = source.replace(/^::ffff:/, "");
  return store.droplets.all().find((droplet) => droplet.publicNic.address === address && !droplet.deleted);
}

function reservedIp(store: Store, droplet: DropletRecord): string | undefined {
  return store.reservedIps.all().find((reserved) => reserved.dropletId === droplet.id)?.id;
}

interface Found {
  readonly text: string;
  readonly isFolderWithoutSlash: boolean;
}

function walk(tree: Tree, path: string): Found | undefined {
  const segments = path.split("/").slice(1);
  const endsInSlash = segments.at(-1) === "";
  let here: Tree | string = tree;
  for (const segment of endsInSlash ? segments.slice(0, -1) : segments) {
    if (typeof here === "string" || !Object.hasOwn(here, segment)) return undefined;
    const next: Tree | string | undefined = here[segment];
    if (next === undefined) return undefined;
    here = next;
  }
  if (typeof here === "string") return endsInSlash ? undefined : { text: here, isFolderWithoutSlash: false };
  return { text: index(here), isFolderWithoutSlash: !endsInSlash };
}

function index(folder: Tree): string {
  return Object.entries(folder)
    .map(([name, child]) => (typeof child === "string" ? name : `${name}/`))
    .join("\n");
}
