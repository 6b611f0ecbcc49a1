import type { FastifyInstance } from "fastify";
import { listRequest } from "./context.ts";
import { notFound } from "./errors.ts";
import { paginate } from "./pages.ts";

/** `/v2/snapshots`: none can be made here, so there are none. */
export function routeSnapshots(app: FastifyInstance): void {
  app.get("/v2/snapshots", (request) => paginate(listRequest(request), "snapshots", [], (item) => item));
  app.get("/v2/snapshots/:id", () => {
    throw notFound();
  });
  app.delete("/v2/snapshots/:id", () => {
    throw notFound();
  });
}
