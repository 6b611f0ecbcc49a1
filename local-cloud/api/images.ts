import type { FastifyInstance, FastifyRequest } from "fastify";
import { actionsOf, completeAction, renderAction } from "./actions.ts";
import { findRegion } from "./catalog.ts";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  numberParameter,
  queryOf,
  readBody,
  requiredText,
  textOf,
  textsOf,
} from "./context.ts";
import { notFound, notImplemented, unprocessable } from "./errors.ts";
import { sweepImages } from "./image-files.ts";
import { importKey, startImport } from "./image-import.ts";
import { paginate } from "./pages.ts";
import type { ActionRecord, ImageRecord } from "./records.ts";
import { renderImage } from "./render-droplet.ts";
import type { Store } from "./store.ts";
import { makeTags, shareTag } from "./tags.ts";

/** How long a deleted image is still shown, as `deleted`: clients take a 404 for an error. */
const deletedShownMs = 60 * 60 * 1000;
/** How long the first look at an image waits for its import: clients look again only after a minute. */
const holdMs = 45_000;

const distributions = [
  ...["Arch Linux", "CentOS", "CoreOS", "Debian", "Fedora", "Fedora Atomic", "FreeBSD", "Gentoo"],
  ...["openSUSE", "RancherOS", "Rocky Linux", "Ubuntu"],
];

/** `/v2/images`. There are custom images only. */
export function routeImages(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const held = new Set<number>();

  app.get("/v2/images", (request) => {
    const images = filterImages(store, queryOf(request));
    return paginate(listRequest(request), "images", images, renderImage);
  });
  app.post("/v2/images", async (request, reply) => {
    const body = readBody(context, request, "images_create_custom");
    const image = await store.change(() => createImage(store, body));
    startImport(context, image.id);
    return reply.status(202).send({ image: renderImage(image) });
  });
  app.get("/v2/images/:id", async (request) => {
    const { id, status } = requestedImage(store, request);
    if (status === "NEW" && !held.has(id)) {
      held.add(id);
      await Promise.race([context.jobs.idle(importKey(id)), wait(holdMs, context.jobs.signal)]);
      await store.settled();
    }
    return { image: renderImage(requestedImage(store, request)) };
  });
  app.put("/v2/images/:id", async (request) => {
    const body = readBody(context, request, "images_update");
    return { image: renderImage(await store.change(() => updateImage(store, livingImage(store, request), body))) };
  });
  app.delete("/v2/images/:id", async (request, reply) => {
    await store.change(() => {
      const image = requestedImage(store, request);
      if (image.status === "deleted") throw unprocessable("Image Can not delete an already deleted image.");
      store.images.put({ ...image, status: "deleted", deletedAt: now() });
    });
    await sweepImages(context);
    return reply.status(204).send();
  });
  routeImageActions(app, context);
}

function routeImageActions(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  app.get("/v2/images/:id/actions", (request) => {
    const { id } = requestedImage(store, request);
    return paginate(listRequest(request), "actions", actionsOf(store, "image", id), renderAction);
  });
  app.post("/v2/images/:id/actions", async (request, reply) => {
    const body = readBody(context, request, "imageActions_post");
    const action = await store.change(() => transfer(store, livingImage(store, request), body));
    return reply.status(201).send({ action: renderAction(action) });
  });
  app.get("/v2/images/:id/actions/:action", (request) => {
    const { id } = requestedImage(store, request);
    const action = found(store.actions.get(numberParameter(request, "action")));
    if (action.resourceType !== "image" || action.resourceId !== id) throw notFound();
    return { action: renderAction(action) };
  });
}

function filterImages(store: Store, query: Readonly<Record<string, string>>): ImageRecord[] {
  const { type, private: own, tag_name: tag } = query;
  // All images here are somebody's own, none belongs to a distribution or an application.
  if (type === "distribution" || type === "application" || own === "false") return [];
  return store.images.all().filter((image) => image.status !== "deleted" && (!tag || shareTag(image.tags, [tag])));
}

/** An image by its id; slugs are for DigitalOcean's own images, of which there are none here. */
function requestedImage(store: Store, request: FastifyRequest): ImageRecord {
  const image = found(store.images.get(numberParameter(request, "id")));
  if (image.deletedAt !== undefined && Date.now() - Date.parse(image.deletedAt) > deletedShownMs) throw notFound();
  return image;
}

function livingImage(store: Store, request: FastifyRequest): ImageRecord {
  const image = requestedImage(store, request);
  if (image.status === "deleted") throw notFound();
  return image;
}

function createImage(store: Store, body: Body): ImageRecord {
  const region = findRegion(body.region).slug;
  return store.images.put({
    id: store.next("image", 20001),
    name: requiredText(body, "name"),
    url: requiredText(body, "url"),
    description: textOf(body, "description"),
    distribution: readDistribution(textOf(body, "distribution")),
    regions: [region],
    tags: makeTags(store, textsOf(body, "tags")),
    createdAt: now(),
    status: "NEW",
    errorMessage: "",
    minDiskSize: null,
    sizeGigabytes: null,
  });
}

function readDistribution(name: string): string {
  return distributions.includes(name) ? name : "Unknown";
}

function updateImage(store: Store, image: ImageRecord, body: Body): ImageRecord {
  return store.images.put({
    ...image,
    name: textOf(body, "name") || image.name,
    distribution:
      textOf(body, "distribution") === "" ? image.distribution : readDistribution(textOf(body, "distribution")),
    description: body.description === undefined ? image.description : textOf(body, "description"),
  });
}

/** All regions are on one laptop: a transfer takes no time. */
function transfer(store: Store, image: ImageRecord, body: Body): ActionRecord {
  const type = requiredText(body, "type");
  if (type !== "transfer") throw notImplemented(`the image action ${type}`);
  const region = findRegion(body.region).slug;
  store.images.put({ ...image, regions: [...new Set([...image.regions, region])] });
  return completeAction(store, { type, resourceType: "image", resourceId: image.id, region });
}

function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    timer.unref();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
