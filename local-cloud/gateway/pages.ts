/** The pages that the gateway shows by itself: plain HTML that needs nothing else. */

/** The start page: links to every domain that leads to a droplet. */
export function domainsPage(domains: readonly string[], port: number): string {
  return page(
    "Your sites on this computer",
    domains.length === 0 ? [nothing] : ["These domains lead to a droplet:", links(domains, port)],
  );
}

/** For a name that no zone leads to a droplet. */
export function unknownDomainPage(host: string, domains: readonly string[], port: number): string {
  const known = domains.length === 0 ? [nothing] : ["These do:", links(domains, port)];
  return page("No such domain here", [
    `<code>${escapeHtml(host)}</code> does not lead to a droplet of the local cloud.`,
    ...known,
  ]);
}

/** For a domain whose droplet does not answer. */
export function unreachablePage(domain: string, address: string, port: number, why: string): string {
  return page("The droplet does not answer", [
    `<code>${escapeHtml(domain)}</code> leads to ${escapeHtml(address)}, port ${port}, but: ${escapeHtml(why)}.`,
    "Run <code>npx chillbox cloud status</code> to see whether the droplet is on.",
  ]);
}

/** Escapes `text` for HTML, attributes included. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const nothing = "No domain leads to a droplet yet. Run <code>npm run up</code>.";

function links(domains: readonly string[], port: number): string {
  const items = domains.map((domain) => {
    const address = `http://${escapeHtml(domain)}.localhost:${port}`;
    return `<li><a href="${address}">${escapeHtml(domain)}</a></li>`;
  });
  return `<ul>${items.join("")}</ul>`;
}

function page(title: string, parts: readonly string[]): string {
  const body = parts.map((part) => (part.startsWith("<ul>") ? part : `<p>${part}</p>`)).join("\n");
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem; color-scheme: light dark }
  h1 { font-size: 1.5rem }
</style>
<h1>${title}</h1>
${body}
</html>
`;
}
