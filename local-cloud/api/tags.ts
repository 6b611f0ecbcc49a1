import type { FastifyInstance } from "fastify";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  objectsOf,
  parameter,
  readBody,
  requiredText,
} from "./context.ts";
import { notFound, unprocessable } from "./errors.ts";
import { paginate } from "./pages.ts";
import type { DropletRecord, ImageRecord, TagRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** `/v2/tags`. */
export function routeTags(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  app.get("/v2/tags", (request) =>
    paginate(listRequest(request), "tags", store.tags.all(), (tag) => render(store, tag)),
  );
  // Clients create a tag before each use of it: one that exists is no error.
  app.post("/v2/tags", async (request, reply) => {
    const name = requiredText(readBody(context, request, "tags_create"), "name");
    const [tag = name] = await store.change(() => makeTags(store, [name]));
    return reply.status(201).send({ tag: render(store, found(findTag(store, tag))) });
  });
  app.get("/v2/tags/:name", (request) => ({
    tag: render(store, found(findTag(store, parameter(request, "name")))),
  }));
  app.delete("/v2/tags/:name", async (request, reply) => {
    await store.change(() => removeTag(store, found(findTag(store, parameter(request, "name")))));
    return reply.status(204).send();
  });
  app.post("/v2/tags/:name/resources", async (request, reply) => {
    const body = readBody(context, request, "tags_assign_resources");
    await store.change(() => {
      const { name } = found(findTag(store, parameter(request, "name")));
      changeTags(store, body, (tags) => [...without(tags, name), name]);
    });
    return reply.status(204).send();
  });
  app.delete("/v2/tags/:name/resources", async (request, reply) => {
    const body = readBody(context, request, "tags_unassign_resources");
    await store.change(() => {
      const { name } = found(findTag(store, parameter(request, "name")));
      changeTags(store, body, (tags) => without(tags, name));
    });
    return reply.status(204).send();
  });
}

/** The tag of this name, whatever its capitals. */
export function findTag(store: Store, name: string): TagRecord | undefined {
  return store.tags.get(name.toLowerCase());
}

/**
 * Makes the tags that do not exist yet. Inside a change.
 * @returns the names without doubles, in their first spelling.
 * @throws ApiError 422 for a name with other characters than letters, digits, `:`, `_`, `-`.
 */
export function makeTags(store: Store, names: readonly string[]): string[] {
  const made = names.map((name) => {
    if (!/^[A-Za-z0-9:_-]{1,255}$/.test(name)) {
      throw unprocessable("Name is invalid: only letters, numbers, colons, dashes and underscores are allowed");
    }
    return findTag(store, name) ?? store.tags.put({ id: name.toLowerCase(), name });
  });
  return [...new Set(made.map((tag) => tag.name))];
}

/** Whether the two lists share a tag. */
export function shareTag(one: readonly string[], other: readonly string[]): boolean {
  const lower = new Set(other.map((tag) => tag.toLowerCase()));
  return one.some((tag) => lower.has(tag.toLowerCase()));
}

function without(tags: readonly string[], name: string): string[] {
  return tags.filter((tag) => tag.toLowerCase() !== name.toLowerCase());
}

function changeTags(store: Store, body: Body, change: (tags: readonly string[]) => string[]): void {
  for (const resource of objectsOf(body, "resources")) {
    const id = Number(resource.resource_id);
    const { resource_type: type } = resource;
    if (type === "droplet") {
      const droplet = found(store.droplets.get(id));
      if (droplet.deleted) throw notFound();
      store.droplets.put({ ...droplet, tags: change(droplet.tags) });
    } else if (type === "image") {
      const image = found(store.images.get(id));
      store.images.put({ ...image, tags: change(image.tags) });
    } else {
      // There are no volumes here, so none can be found.
      throw notFound();
    }
  }
}

function removeTag(store: Store, tag: TagRecord): void {
  store.tags.delete(tag.id);
  for (const droplet of tagged(store.droplets.all(), tag)) {
    store.droplets.put({ ...droplet, tags: without(droplet.tags, tag.name) });
  }
  for (const image of tagged(store.images.all(), tag)) {
    store.images.put({ ...image, tags: without(image.tags, tag.name) });
  }
  for (const firewall of tagged(store.firewalls.all(), tag)) {
    store.firewalls.put({ ...firewall, tags: without(firewall.tags, tag.name) });
  }
}

function tagged<T extends { readonly tags: readonly string[] }>(records: readonly T[], tag: TagRecord): T[] {
  return records.filter((record) => shareTag(record.tags, [tag.name]));
}

function render(store: Store, tag: TagRecord) {
  const droplets = tagged<DropletRecord>(store.droplets.all(), tag).filter((droplet) => !droplet.deleted);
  const images = tagged<ImageRecord>(store.images.all(), tag).filter((image) => image.status !== "deleted");
  const none = { count: 0, last_tagged_uri: "" };
  const count = (uris: readonly string[]) => ({ count: uris.length, last_tagged_uri: uris.at(-1) ?? "" });
  const dropletUris = droplets.map(({ id }) => `https://api.digitalocean.com/v2/droplets/${id}`);
  const imageUris = images.map(({ id }) => `https://api.digitalocean.com/v2/images/${id}`);
  return {
    name: tag.name,
    resources: {
      ...count([...imageUris, ...dropletUris]),
      droplets: count(dropletUris),
      images: count(imageUris),
      volumes: none,
      volume_snapshots: none,
      databases: none,
    },
  };
}
