import { isIPv4 } from "node:net";

/** What an address is used for and what to say when it may not be used. */
type Setting = "apiEndpoint" | "spacesEndpoint";

/**
 * Says why an address must not be used, or `undefined` when it may: a stand-in talks to this machine alone. Names under `.test` count
 * when plain HTTP takes them through a proxy on loopback.
 */
export function refusal(setting: Setting, address: string | undefined, proxy: string | undefined): string | undefined {
  const refused = `the digitalocean stand-in refuses ${setting} '${address ?? ""}'`;
  const url = parse(address);
  if (url === undefined) {
    return `${refused}: give an http address on this machine, as in http://127.0.0.1:8081`;
  }
  if (isLoopback(url.hostname)) {
    return undefined;
  }
  if (setting === "spacesEndpoint" && isTestName(url.hostname)) {
    const proxyUrl = parse(proxy);
    return url.protocol === "http:" && proxyUrl !== undefined && isLoopback(proxyUrl.hostname)
      ? undefined
      : `${refused}: names under .test need http and HTTP_PROXY with an address on this machine; run 'npx chillbox env'`;
  }
  return `${refused}: it talks to this machine alone. For a real account install the official Pulumi plugins`;
}

/** `true` for 127.0.0.0/8, ::1 and localhost. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || (isIPv4(hostname) && hostname.startsWith("127."));
}

/** `true` for names that the loopback proxy answers for. */
export function isTestName(hostname: string): boolean {
  return hostname.endsWith(".test");
}

/** The proxy for plain HTTP that the environment names. */
export function environmentProxy(environment: NodeJS.ProcessEnv = process.env): string | undefined {
  return environment.http_proxy || environment.HTTP_PROXY || undefined;
}

function parse(address: string | undefined): URL | undefined {
  return address !== undefined && URL.canParse(address) && /^https?:/.test(address) ? new URL(address) : undefined;
}
