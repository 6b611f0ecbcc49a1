import type { FastifyInstance } from "fastify";
import { regions, sizes } from "./catalog.ts";
import { listRequest } from "./context.ts";
import { paginate } from "./pages.ts";

/** How many droplets the account may have. */
export const dropletLimit = 25;

/** `GET /v2/account`, `/v2/regions`, `/v2/sizes`. */
export function routeAccount(app: FastifyInstance): void {
  app.get("/v2/account", () => ({
    account: {
      droplet_limit: dropletLimit,
      floating_ip_limit: 25,
      reserved_ip_limit: 25,
      volume_limit: 0,
      email: "chillbox@chillbox.test",
      name: "chillbox",
      uuid: "00000000-0000-4000-8000-000000000001",
      email_verified: true,
      status: "active",
      status_message: "",
      team: { uuid: "00000000-0000-4000-8000-000000000002", name: "chillbox" },
    },
  }));
  app.get("/v2/regions", (request) => paginate(listRequest(request), "regions", regions, (region) => region));
  app.get("/v2/sizes", (request) => paginate(listRequest(request), "sizes", sizes, (size) => size));
}
