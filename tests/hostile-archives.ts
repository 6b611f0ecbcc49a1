/** An archive of a site's release that tries to do harm, and what refuses it. */
export interface HostileArchive {
  readonly name: string;
  /** Lines of Python that fill it: see `archive`. The site is "app". */
  readonly lines: string;
  /** What the laptop says of it, and what the server would say. */
  readonly laptop: RegExp;
  readonly server: RegExp;
}

export const hostileArchives: readonly HostileArchive[] = [
  {
    name: "an absolute path",
    lines: 'file("/etc/chillbox/owned")',
    laptop: /"\/etc\/chillbox\/owned" is an absolute path/,
    server: /the archive is refused: '\/etc\/chillbox\/owned'/,
  },
  {
    name: "a path with ..",
    lines: 'file("app/../../owned")',
    laptop: /"app\/\.\.\/\.\.\/owned" has "\.\."/,
    server: /refused: 'app\/\.\.\/\.\.\/owned' is not a plain path/,
  },
  {
    name: "a second top folder",
    lines: 'file("app/a"); file("other/a")',
    laptop: /"other\/a" is (in a second top-level folder|not in the folder "app")/,
    server: /refused: 'other\/a' is not below app\//,
  },
  {
    name: "a link that leaves",
    lines: 'entry("app/api", tarfile.SYMTYPE, "../../../etc")',
    laptop: /"app\/api" is a link that leaves the archive's folder/,
    server: /refused: 'app\/api' is a link to '\.\.\/\.\.\/\.\.\/etc', outside/,
  },
  {
    name: "a link to an absolute path",
    lines: 'entry("app/api", tarfile.SYMTYPE, "/etc")',
    laptop: /"app\/api" is a link to the absolute path "\/etc"/,
    server: /refused: 'app\/api' is a link to '\/etc', outside/,
  },
  {
    name: "links that leave together",
    lines:
      'entry("app/a/b", tarfile.DIRTYPE); entry("app/up", tarfile.SYMTYPE, "a/b"); entry("app/out", tarfile.SYMTYPE, "up/../../../etc")',
    laptop: /"app\/out" is a link with "\.\." after a name/,
    server: /refused: 'app\/out' is a link (with '\.\.' after a name|to .*, outside)/,
  },
  {
    name: "a file behind a link",
    lines: 'entry("app/l", tarfile.SYMTYPE, "a"); file("app/l/x")',
    laptop: /"app\/l\/x" lies behind a symbolic link/,
    server: /refused: 'app\/l\/x' lies below something that is not a folder/,
  },
  {
    name: "a hard link",
    lines: 'file("app/a"); entry("app/shadow", tarfile.LNKTYPE, "app/a")',
    laptop: /"app\/shadow" is a hard link/,
    server: /refused: 'app\/shadow' is neither a file, a folder nor a symbolic link/,
  },
  {
    name: "a device",
    lines: 'entry("app/null", tarfile.CHRTYPE)',
    laptop: /"app\/null" is of the kind "CharacterDevice"/,
    server: /refused: 'app\/null' is neither/,
  },
  {
    name: "a fifo",
    lines: 'entry("app/pipe", tarfile.FIFOTYPE)',
    laptop: /"app\/pipe" is of the kind "FIFO"/,
    server: /refused: 'app\/pipe' is neither/,
  },
  {
    name: "a setuid file",
    lines: 'file("app/su", mode=0o4755)',
    laptop: /"app\/su" is set to run as another user/,
    server: /refused: 'app\/su' is set to run as another user/,
  },
  {
    name: "a name twice",
    lines: 'file("app/a"); file("app/a", "y")',
    laptop: /"app\/a" is there twice/,
    server: /refused: 'app\/a' is in it twice/,
  },
  {
    name: "names that differ in case alone",
    lines: 'file("app/B/x"); file("app/b/y")',
    laptop: /"app\/b" differs from "app\/B" only in upper and lower case/,
    server: /refused: 'app\/b\/y' differs from 'B' only in upper and lower case/,
  },
  {
    name: "a newline in a name",
    lines: 'file("app/a\\nb")',
    laptop: /"app\/a\\nb" has a control character in its name/,
    server: /refused: 'app\/a\\nb' has characters/,
  },
  {
    name: "a bomb",
    lines: 'packed(); file("app/zeros", "0" * (40 << 20))',
    laptop: /"app\/zeros" unpacks to more than 200 times the archive's own size/,
    server: /refused: .*more than 200 times its own size/,
  },
];

/**
 * A Python program that writes a tar file, with no check of what is put into it.
 * @param lines call file(name, text, mode), entry(name, type, link), packed() for gzip, cut(bytes) and instead(bytes)
 */
export function archive(lines: string): string {
  return `
import gzip, io, sys, tarfile
buffer = io.BytesIO()
tar = tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT)
change = lambda data: data
def file(name, text="x", mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), mode
    tar.addfile(info, io.BytesIO(text.encode()))
def entry(name, type, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    tar.addfile(info)
def packed():
    global change
    change = gzip.compress
def cut(length):
    global change
    change = lambda data: data[:length]
def instead(other):
    global change
    change = lambda data: other
${lines}
tar.close()
open(sys.argv[1], "wb").write(change(buffer.getvalue()))
`;
}
