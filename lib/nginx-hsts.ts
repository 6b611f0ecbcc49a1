import { type Directive, everyDirective, parseNginx } from "./nginx-syntax.ts";

/** The name that nginx's own configuration on the server gives to what HSTS says: empty unless config switches it on, and by plain http. */
const header = "add_header Strict-Transport-Security $chillbox_hsts always;";

/**
 * Repeats chillbox's HSTS header in every block of a site's configuration that adds headers of its own: to nginx these are instead of those
 * of the blocks around, not besides. A block that has a Strict-Transport-Security of the site's own keeps that. The lines stay where they are.
 * @param text rendered; its syntax has been checked
 */
export function repeatHsts(text: string): string {
  const places: number[] = [];
  for (const { block = [] } of everyDirective(parseNginx(text))) {
    const added = block.filter(({ name }) => name.text === "add_header");
    const [first] = added;
    if (first && !added.some(isHsts)) places.push(first.end);
  }
  // From the end, so that the places before stay right.
  return places.sort((a, b) => b - a).reduce((done, at) => `${done.slice(0, at)} ${header}${done.slice(at)}`, text);
}

function isHsts({ words }: Directive): boolean {
  return words[0]?.text.toLowerCase() === "strict-transport-security";
}
