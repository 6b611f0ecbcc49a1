import { badRequest } from "./errors.ts";

/** Where a list request came to and which page it asks for. */
export interface ListRequest {
  /** `http://host:port/path`, without the query. */
  readonly address: string;
  readonly query: Readonly<Record<string, string>>;
}

const defaultPerPage = 20;
const maxPerPage = 200;

/**
 * One page of `items` as DigitalOcean's lists have it: `{<name>: [...], links, meta: {total}}`. `page` counts from 1, `per_page` is 20
 * unless given, 200 at most. Links are absolute and only those that make sense.
 * @throws ApiError 400 when `page` or `per_page` is not a number from 1 on.
 */
export function paginate<T>(request: ListRequest, name: string, items: readonly T[], render: (item: T) => unknown) {
  const page = readNumber(request.query, "page") ?? 1;
  const perPage = Math.min(readNumber(request.query, "per_page") ?? defaultPerPage, maxPerPage);
  const last = Math.max(1, Math.ceil(items.length / perPage));
  const link = (number: number) => {
    const query = new URLSearchParams({ ...request.query, page: String(number), per_page: String(perPage) });
    return `${request.address}?${query}`;
  };
  const before = page > 1 ? { first: link(1), prev: link(Math.min(page - 1, last)) } : {};
  const after = page < last ? { next: link(page + 1), last: link(last) } : {};
  return {
    [name]: items.slice((page - 1) * perPage, page * perPage).map(render),
    links: page === 1 && last === 1 ? {} : { pages: { ...before, ...after } },
    meta: { total: items.length },
  };
}

function readNumber(query: ListRequest["query"], key: string): number | undefined {
  const text = query[key];
  if (text === undefined || text === "") return undefined;
  if (!/^[0-9]{1,9}$/.test(text) || Number(text) < 1) {
    throw badRequest(`${key} must be a number from 1 on.`);
  }
  return Number(text);
}
