import { DatabaseSync } from "node:sqlite";

export type Acl = "private" | "public-read";

/** What Spaces knows of a bucket and the object store does not. */
export interface BucketRecord {
  readonly name: string;
  readonly region: string;
  /** ISO 8601. */
  readonly created: string;
  readonly acl: Acl;
  /** XML as it is answered, or `null`. */
  readonly lifecycle: string | null;
  readonly logging: string | null;
  /** 1 once versioning was ever set: older versions may come back. */
  readonly versioned: 0 | 1;
  /** 1 while the bucket has a policy, which may let anonymous requests in. */
  readonly policy: 0 | 1;
}

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA foreign_keys = ON;
  PRAGMA cache_size = -512;
  CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, region TEXT NOT NULL, created TEXT NOT NULL, acl TEXT NOT NULL, lifecycle TEXT, logging TEXT,
    versioned INTEGER NOT NULL DEFAULT 0, policy INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  -- An object carries a random id among its metadata, which is written together with its content; a row makes the content with that id
  -- public. So an ACL can never come to hold for other content, in whatever order concurrent writers finish or are killed.
  CREATE TABLE IF NOT EXISTS public_objects (
    bucket TEXT NOT NULL REFERENCES buckets(name) ON DELETE CASCADE, key TEXT NOT NULL, id TEXT NOT NULL, upload TEXT,
    PRIMARY KEY (bucket, key, id)
  ) STRICT, WITHOUT ROWID;`;

/**
 * Buckets and ACLs, kept in SQLite. Safe against kills; what closes something is on disk when its call returns, while a power cut may
 * lose the last openings: such an object is private afterwards.
 */
export class SpacesStore {
  readonly #db: DatabaseSync;
  /** Ids of objects that are being written: their rows are not superseded yet. */
  readonly #writing = new Set<string>();

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec(schema);
  }

  end(): void {
    this.#db.close();
  }

  buckets(): BucketRecord[] {
    return this.#db.prepare("SELECT * FROM buckets ORDER BY name").all() as unknown as BucketRecord[];
  }

  bucket(name: string): BucketRecord | undefined {
    return this.#db.prepare("SELECT * FROM buckets WHERE name = ?").get(name) as unknown as BucketRecord | undefined;
  }

  addBucket(name: string, region: string, acl: Acl): void {
    const sql = "INSERT INTO buckets (name, region, created, acl) VALUES (?, ?, ?, ?)";
    this.#durably(() => this.#db.prepare(sql).run(name, region, new Date().toISOString(), acl));
  }

  /** Removes a bucket and the ACLs of its objects. */
  removeBucket(name: string): void {
    this.#durably(() => this.#db.prepare("DELETE FROM buckets WHERE name = ?").run(name));
  }

  set(name: string, change: Partial<Omit<BucketRecord, "name" | "region" | "created">>): void {
    for (const [column, value] of Object.entries(change)) {
      this.#durably(() => this.#db.prepare(`UPDATE buckets SET ${column} = ? WHERE name = ?`).run(value, name));
    }
  }

  isPublic(bucket: string, key: string, id: string): boolean {
    const sql = "SELECT 1 FROM public_objects WHERE bucket = ? AND key = ? AND id = ?";
    return this.#db.prepare(sql).get(bucket, key, id) !== undefined;
  }

  setPublic(bucket: string, key: string, id: string, isPublic: boolean): void {
    const sql = isPublic
      ? "INSERT OR IGNORE INTO public_objects (bucket, key, id) VALUES (?, ?, ?)"
      : "DELETE FROM public_objects WHERE bucket = ? AND key = ? AND id = ?";
    this.#db.prepare(sql).run(bucket, key, id);
  }

  /** Takes back what a client opened. */
  close(bucket: string, key: string, id: string): void {
    this.#durably(() => this.setPublic(bucket, key, id, false));
  }

  /** Ties the row of a multipart upload to it until the upload is complete. */
  setUpload(bucket: string, key: string, id: string, upload: string | null): void {
    this.#db
      .prepare("UPDATE public_objects SET upload = ? WHERE bucket = ? AND key = ? AND id = ?")
      .run(upload, bucket, key, id);
  }

  completeUpload(bucket: string, key: string, upload: string): void {
    this.#db
      .prepare("UPDATE public_objects SET upload = NULL WHERE bucket = ? AND key = ? AND upload = ?")
      .run(bucket, key, upload);
  }

  abortUpload(bucket: string, key: string, upload: string): void {
    this.#db.prepare("DELETE FROM public_objects WHERE bucket = ? AND key = ? AND upload = ?").run(bucket, key, upload);
  }

  /** Content with this id is about to be put in place: it is public, if so, from before it can be seen. */
  beginWrite(bucket: string, key: string, id: string, acl: Acl): void {
    this.#writing.add(id);
    if (acl === "public-read") this.setPublic(bucket, key, id, true);
  }

  /** `written` is `false` only when the content surely is not in place. */
  endWrite(bucket: string, key: string, id: string, written: boolean): void {
    this.#writing.delete(id);
    if (!written) this.setPublic(bucket, key, id, false);
  }

  /** Rows of content that is in place now: to be given to `forget` once it is surely overwritten or deleted. */
  settled(bucket: string, keys: readonly string[]): readonly { readonly key: string; readonly id: string }[] {
    const statement = this.#db.prepare(
      "SELECT key, id FROM public_objects WHERE bucket = ? AND key = ? AND upload IS NULL",
    );
    const rows = keys.flatMap((key) => statement.all(bucket, key) as unknown as { key: string; id: string }[]);
    return rows.filter(({ id }) => !this.#writing.has(id));
  }

  /** Removes rows that nothing has any more; where an older version may come back they stay. */
  forget(bucket: string, rows: readonly { readonly key: string; readonly id: string }[]): void {
    if (rows.length === 0 || this.bucket(bucket)?.versioned !== 0) return;
    for (const { key, id } of rows) this.setPublic(bucket, key, id, false);
  }

  /** An fsync for each change would hold up the whole program: only where it matters. */
  #durably(change: () => unknown): void {
    this.#db.exec("PRAGMA synchronous = FULL");
    try {
      change();
    } finally {
      this.#db.exec("PRAGMA synchronous = NORMAL");
    }
  }
}
