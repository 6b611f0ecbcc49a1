import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface HostedFile {
  readonly body?: Buffer;
  readonly status?: number;
  readonly headStatus?: number;
  readonly headers?: Record<string, string>;
  /** Answers instead of all above. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => void;
}

/** A proxy that is also the only host behind it: it answers `http://<anything>.test/<path>` with the files that a test puts in. */
export class ImageHost {
  readonly files = new Map<string, HostedFile>();
  /** `GET http://images.test/x`, as they came. */
  readonly requests: string[] = [];
  address = "";

  static async start(test: Pick<TestContext, "after">): Promise<ImageHost> {
    const host = new ImageHost();
    const server = createServer((request, response) => host.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    host.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    test.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return host;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`);
    const file = this.files.get(new URL(request.url ?? "", "http://none.test").pathname);
    if (file?.answer !== undefined) {
      file.answer(request, response);
      return;
    }
    const isHead = request.method === "HEAD";
    const status = file === undefined ? 404 : ((isHead ? file.headStatus : undefined) ?? file.status ?? 200);
    const body = file?.body ?? Buffer.alloc(0);
    response.writeHead(status, { "content-length": body.length, ...file?.headers });
    response.end(isHead ? undefined : body);
  }
}
