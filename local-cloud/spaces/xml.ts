import { S3Error } from "./s3-error.ts";

/** An element of a small XML document; attributes, comments and namespaces are dropped. */
export interface XmlElement {
  readonly name: string;
  /** Its own text, entities resolved. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

const named: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const maxDepth = 20;

/** Escapes `text` for use inside an element; control characters as numeric references. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"'\p{Cc}]/gu, (c) => {
    const name = Object.keys(named).find((key) => named[key] === c);
    return name === undefined ? `&#${c.charCodeAt(0)};` : `&${name};`;
  });
}

/** Writes `element` back as XML, without a declaration; `namespace` becomes the `xmlns` of the outermost one. */
export function writeXml(element: XmlElement, namespace?: string): string {
  const start = namespace === undefined ? element.name : `${element.name} xmlns="${namespace}"`;
  const inner =
    element.children.length > 0 ? element.children.map((c) => writeXml(c)).join("") : escapeXml(element.text);
  return `<${start}>${inner}</${element.name}>`;
}

/**
 * Reads the XML of an S3 request body. Strict and small on purpose: what it returns is written anew before it goes on, so that
 * nothing it did not understand gets further. Document types and processing instructions are refused.
 * @throws S3Error MalformedXML
 */
export function parseXml(text: string): XmlElement {
  const tokens =
    /<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<(\/?)([A-Za-z_][\w.:-]*)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;
  const root = { name: "", text: "", children: [] as XmlElement[] };
  const open: { name: string; text: string; children: XmlElement[] }[] = [root];
  tokens.lastIndex = /^\uFEFF?(<\?xml[^?]*\?>)?/.exec(text)?.[0].length ?? 0;
  while (tokens.lastIndex < text.length) {
    const token = tokens.exec(text);
    const current = open.at(-1);
    if (token === null || current === undefined) throw new S3Error("MalformedXML");
    const [, cdata, closing, name, , empty, chars] = token;
    if (cdata !== undefined) current.text += cdata;
    else if (chars !== undefined) current.text += resolveEntities(chars);
    else if (name !== undefined) {
      const local = name.slice(name.indexOf(":") + 1);
      if (closing) {
        if (open.length === 1 || current.name !== local) throw new S3Error("MalformedXML");
        open.pop();
        continue;
      }
      const element = { name: local, text: "", children: [] as XmlElement[] };
      current.children.push(element);
      if (!empty && open.push(element) > maxDepth) throw new S3Error("MalformedXML");
    }
  }
  const [only] = root.children;
  if (open.length !== 1 || root.children.length !== 1 || root.text.trim() !== "" || only === undefined) {
    throw new S3Error("MalformedXML");
  }
  return only;
}

/** Text of the first child called `name`, or `undefined`. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text;
}

function resolveEntities(text: string): string {
  return text.replace(/&([^;&]*);?/g, (whole, body: string) => {
    const code = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(body);
    const point = code === null ? Number.NaN : Number.parseInt(code[1] ?? code[2] ?? "", code[1] ? 16 : 10);
    const resolved = point <= 0x10ffff ? String.fromCodePoint(point) : named[body];
    if (resolved === undefined || !whole.endsWith(";")) throw new S3Error("MalformedXML");
    return resolved;
  });
}
