import { readFileSync } from "node:fs";
import { createServer } from "node:http";

/**
 * A small metadata service for one host under test: `node metadata-server.ts ADDRESS PORT FILE`. FILE is read at each request: JSON,
 * path below `/metadata/v1/` -> text; a value `{ "status": N }` answers that status. Prints the port when it listens.
 */
const [address = "127.0.0.1", port = "0", file = ""] = process.argv.slice(2);

const server = createServer((request, response) => {
  const values = JSON.parse(readFileSync(file, "utf8"));
  const value = values[(request.url ?? "").replace("/metadata/v1/", "")];
  response.statusCode = typeof value === "string" ? 200 : (value?.status ?? 404);
  response.end(typeof value === "string" ? value : "404 Not Found");
});
server.listen(Number(port), address, () => {
  const at = server.address();
  console.log(at && typeof at === "object" ? at.port : port);
});
