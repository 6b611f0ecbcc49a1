/** A word of a directive, as nginx understands it: without its quotes and escapes. */
export interface Word {
  readonly text: string;
  /** Written with quotes or a backslash. */
  readonly disguised: boolean;
  /** Where it stands in the text, with its quotes: the first character's place, and the place behind the last. */
  readonly start: number;
  readonly end: number;
}

/** `name argument...;` or `name argument... { block }`. */
export interface Directive {
  readonly name: Word;
  readonly words: readonly Word[];
  /** Line of the name, from 1. */
  readonly line: number;
  /** The place behind its ";" or its block's "}". */
  readonly end: number;
  readonly block?: readonly Directive[];
}

/** Text that nginx refuses, or that can be read in two ways. */
export class NginxSyntaxError extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

const maximumText = 256 * 1024;
/** nginx reads through a buffer of 4096 bytes, which each word must fit. */
const maximumWord = 4000;
const maximumDepth = 16;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const strange = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffd\u2028\u2029]|\r(?!\n)|\p{Surrogate}/u;

/**
 * Reads nginx's configuration language the way `ngx_conf_read_token` does. Its corners are left out, so that nobody reads a text that
 * passes in another way: no quote or brace within a word, no escaped blank or separator, no control character, no carriage return
 * that ends no line.
 * @throws NginxSyntaxError
 */
export function parseNginx(text: string): readonly Directive[] {
  if (text.length > maximumText) throw new NginxSyntaxError(1, `the text is longer than ${maximumText} characters`);
  const odd = strange.exec(text);
  if (odd) {
    const code = (odd[0].codePointAt(0) ?? 0).toString(16).padStart(4, "0");
    throw new NginxSyntaxError(lineAt(text, odd.index), `the character U+${code} has no place here`);
  }
  return new Reader(text).block(0);
}

/** The directives of a text and of all blocks in it, in their order. */
export function* everyDirective(directives: readonly Directive[]): Generator<Directive> {
  for (const directive of directives) {
    yield directive;
    yield* everyDirective(directive.block ?? []);
  }
}

function lineAt(text: string, position: number): number {
  return text.slice(0, position).split("\n").length;
}

class Reader {
  readonly #text: string;
  #position = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  /** Directives up to the closing brace, or to the end of the text at depth 0. */
  block(depth: number): Directive[] {
    if (depth > maximumDepth) this.#fail(`blocks are nested deeper than ${maximumDepth}`);
    const found: Directive[] = [];
    for (;;) {
      this.#skip();
      const next = this.#text[this.#position];
      if (next === undefined) {
        if (depth > 0) this.#fail('a "}" is missing at the end');
        return found;
      }
      if (next === "}") {
        if (depth === 0) this.#fail('there is a "}" that closes nothing');
        this.#position += 1;
        return found;
      }
      found.push(this.#directive(depth));
    }
  }

  #directive(depth: number): Directive {
    const line = this.#line;
    const words: Word[] = [];
    for (;;) {
      this.#skip();
      const next = this.#text[this.#position];
      if (next === undefined) this.#fail('a ";" is missing at the end');
      if (next === "}") this.#fail('a ";" is missing before "}"');
      const [name, ...rest] = words;
      if (next === ";" || next === "{") {
        if (name === undefined) this.#fail(`there is no directive before "${next}"`);
        this.#position += 1;
        if (next === ";") return { name, words: rest, line, end: this.#position };
        const block = this.block(depth + 1);
        return { name, words: rest, line, block, end: this.#position };
      }
      words.push(next === '"' || next === "'" ? this.#quoted(next) : this.#bare());
    }
  }

  /** Blanks and comments. A "#" begins a comment only where a word could begin. */
  #skip(): void {
    for (;;) {
      const next = this.#text[this.#position];
      if (next === "#") {
        const end = this.#text.indexOf("\n", this.#position);
        this.#position = end === -1 ? this.#text.length : end;
      } else if (next === "\n") {
        this.#line += 1;
        this.#position += 1;
      } else if (next === " " || next === "\t" || next === "\r") {
        this.#position += 1;
      } else {
        return;
      }
    }
  }

  #quoted(quote: string): Word {
    const start = this.#position + 1;
    const first = this.#line;
    let end = start;
    while (this.#text[end] !== quote) {
      if (this.#text[end] === "\\") end += 1;
      if (this.#text[end] === "\n") this.#line += 1;
      if (end >= this.#text.length) throw new NginxSyntaxError(first, `the quote ${quote} is not closed`);
      end += 1;
    }
    this.#position = end + 1;
    if (!/[ \t\r\n;{)]/.test(this.#text[this.#position] ?? " ")) {
      this.#fail(`a quoted text is followed by "${this.#text[this.#position]}": put a blank or ";" between them`);
    }
    return this.#word(start - 1, this.#text.slice(start, end), true);
  }

  #bare(): Word {
    const start = this.#position;
    let end = start;
    for (;;) {
      const next = this.#text[end];
      if (next === undefined || /[ \t\r\n;{]/.test(next)) break;
      if (next === "$" && this.#text[end + 1] === "{") {
        const variable = /^\$\{\w+\}/.exec(this.#text.slice(end, end + 200));
        if (!variable) this.#fail('"$" and "{" do not begin a variable in braces');
        end += variable[0].length;
      } else if (next === "\\") {
        if (!/[^\s;{}"'#]/.test(this.#text[end + 1] ?? " "))
          this.#fail("a backslash is before a blank, quote or separator");
        end += 2;
      } else {
        if (/["'}]/.test(next))
          this.#fail(`there is a ${next} within a word: put the whole word in quotes, or end it before`);
        end += 1;
      }
    }
    this.#position = end;
    const raw = this.#text.slice(start, end);
    return this.#word(start, raw, raw.includes("\\"));
  }

  #word(start: number, raw: string, disguised: boolean): Word {
    if (Buffer.byteLength(raw) > maximumWord) this.#fail(`a word is longer than ${maximumWord} bytes`);
    const escapes: Record<string, string> = { t: "\t", r: "\r", n: "\n" };
    const text = raw.replace(/\\([\\"'trn])/g, (_, letter: string) => escapes[letter] ?? letter);
    return { text, disguised, start, end: this.#position };
  }

  #fail(message: string): never {
    throw new NginxSyntaxError(this.#line, message);
  }
}
