import { chmodSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { UserError } from "../../lib/user-error.ts";
import type {
  ActionRecord,
  DnsRecord,
  DomainRecord,
  DropletRecord,
  FirewallRecord,
  ImageRecord,
  ProjectRecord,
  ProjectResourceRecord,
  ReservedIpRecord,
  SpacesKeyRecord,
  SshKeyRecord,
  TagRecord,
  VpcRecord,
} from "./records.ts";

/** Objects of one kind, in the order of their creation. Writing is only possible inside `Store.change`. */
export interface Collection<T extends { readonly id: string | number }> {
  get(id: T["id"]): T | undefined;
  all(): T[];
  /** Adds the object or replaces the one with its id, which keeps its place in the order. */
  put(record: T): T;
  delete(id: T["id"]): void;
}

/** Everything that the API knows. One process only may have it open. */
export interface Store {
  readonly sshKeys: Collection<SshKeyRecord>;
  readonly images: Collection<ImageRecord>;
  readonly droplets: Collection<DropletRecord>;
  readonly actions: Collection<ActionRecord>;
  readonly vpcs: Collection<VpcRecord>;
  readonly firewalls: Collection<FirewallRecord>;
  readonly tags: Collection<TagRecord>;
  readonly projects: Collection<ProjectRecord>;
  readonly projectResources: Collection<ProjectResourceRecord>;
  readonly domains: Collection<DomainRecord>;
  readonly dnsRecords: Collection<DnsRecord>;
  readonly reservedIps: Collection<ReservedIpRecord>;
  readonly spacesKeys: Collection<SpacesKeyRecord>;
  /** The next number of a counter; numbers are never given twice, also not after a delete. Inside `change` only. */
  next(counter: string, first: number): number;
  /**
   * Runs `work` in one transaction, after all changes before it have ended. When it returns the change is on the disk; when it throws
   * nothing has changed. `beforeCommit` hooks run in between and can still make it fail.
   */
  change<T>(work: () => T | Promise<T>): Promise<T>;
  /** Resolves when no change is under way: what is read then, without waiting again, is on the disk. */
  settled(): Promise<void>;
  beforeCommit(hook: () => Promise<void>): void;
  /** Called after a change that failed once hooks had run, so that they can take back what they did outside. */
  afterRollback(hook: () => Promise<void>): void;
  close(): void;
}

const schemaVersion = 1;
const schema = `
  CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, id TEXT NOT NULL, place INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS objects_in_order ON objects (kind, place);
  CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

/**
 * Opens the API's data, made when missing: an SQLite file, readable by its owner only. What a change wrote survives a power cut.
 * @param path the file, e.g. `<home>/cloud/api.sqlite`.
 * @throws UserError when the file is damaged or of a newer chillbox.
 */
export function openStore(path: string): Store {
  const database = openDatabase(path);
  const statements = {
    get: database.prepare("SELECT body FROM objects WHERE kind = ? AND id = ?"),
    all: database.prepare("SELECT body FROM objects WHERE kind = ? ORDER BY place"),
    put: database.prepare(`INSERT INTO objects (kind, id, place, body) VALUES (?, ?, ?, ?)
      ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body`),
    delete: database.prepare("DELETE FROM objects WHERE kind = ? AND id = ?"),
    next: database.prepare(`INSERT INTO counters (name, value) VALUES (?, ?)
      ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value`),
  };
  const changes = new Changes(database);
  const next = (counter: string, first: number) => {
    changes.check();
    return Number(statements.next.get(counter, first)?.value);
  };
  const collection = <T extends { readonly id: string | number }>(kind: string) =>
    makeCollection<T>(kind, statements, changes, next);
  return {
    sshKeys: collection("ssh_key"),
    images: collection("image"),
    droplets: collection("droplet"),
    actions: collection("action"),
    vpcs: collection("vpc"),
    firewalls: collection("firewall"),
    tags: collection("tag"),
    projects: collection("project"),
    projectResources: collection("project_resource"),
    domains: collection("domain"),
    dnsRecords: collection("dns_record"),
    reservedIps: collection("reserved_ip"),
    spacesKeys: collection("spaces_key"),
    next,
    change: (work) => changes.run(work),
    settled: () => changes.settled(),
    beforeCommit: (hook) => void changes.beforeCommit.push(hook),
    afterRollback: (hook) => void changes.afterRollback.push(hook),
    close: () => database.close(),
  };
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    // It holds secret keys.
    chmodSync(path, 0o600);
    database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA busy_timeout = 5000;",
    );
    const version = Number(database.prepare("PRAGMA user_version").get()?.user_version);
    if (version > schemaVersion) {
      throw new UserError(
        `${path} was written by a newer chillbox: update chillbox, or run \`npx chillbox cloud reset\`.`,
      );
    }
    database.exec(`${schema} PRAGMA user_version = ${schemaVersion};`);
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof UserError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(
      `${path} cannot be opened (${reason}): if the file is damaged, \`npx chillbox cloud reset\` starts anew.`,
    );
  }
}

interface Statements {
  readonly get: StatementSync;
  readonly all: StatementSync;
  readonly put: StatementSync;
  readonly delete: StatementSync;
}

function makeCollection<T extends { readonly id: string | number }>(
  kind: string,
  statements: Statements,
  changes: Changes,
  next: (counter: string, first: number) => number,
): Collection<T> {
  const decode = (row: Record<string, unknown> | undefined) =>
    row === undefined ? undefined : (JSON.parse(String(row.body)) as T);
  return {
    get: (id) => decode(statements.get.get(kind, String(id))),
    all: () => statements.all.all(kind).map((row) => JSON.parse(String(row.body)) as T),
    put(record) {
      changes.check();
      statements.put.run(kind, String(record.id), next("place", 1), JSON.stringify(record));
      return record;
    },
    delete(id) {
      changes.check();
      statements.delete.run(kind, String(id));
    },
  };
}

/** Lets one change run at a time. */
class Changes {
  readonly beforeCommit: (() => Promise<void>)[] = [];
  readonly afterRollback: (() => Promise<void>)[] = [];
  readonly #database: DatabaseSync;
  #last: Promise<unknown> = Promise.resolve();
  #running = 0;
  #open = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws Error when called outside a change: a mistake in our own code. */
  check(): void {
    if (!this.#open) throw new Error("the store is written outside a change");
  }

  async settled(): Promise<void> {
    while (this.#running > 0) await this.#last;
  }

  run<T>(work: () => T | Promise<T>): Promise<T> {
    this.#running += 1;
    const result = this.#last.then(() => this.#transact(work)).finally(() => (this.#running -= 1));
    // The next change runs whether this one failed or not.
    this.#last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  async #transact<T>(work: () => T | Promise<T>): Promise<T> {
    let hooksRan = false;
    this.#database.exec("BEGIN IMMEDIATE");
    this.#open = true;
    try {
      const result = await work();
      for (const hook of this.beforeCommit) {
        hooksRan = true;
        await hook();
      }
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      this.#database.exec("ROLLBACK");
      if (hooksRan) for (const hook of this.afterRollback) await hook();
      throw error;
    } finally {
      this.#open = false;
    }
  }
}
