#!/usr/bin/env bats
# chillbox-unpack: what an archive may hold.

load helper

# archive LINES: makes $archive; each line of Python adds an entry: file(name, text), entry(name, type, link).
archive() {
  archive=$BATS_TEST_TMPDIR/archive.tar.gz
  target=$BATS_TEST_TMPDIR/target
  rm -rf "$target"
  python3 - "$archive" <<PYTHON
import io, sys, tarfile
tar = tarfile.open(sys.argv[1], "w:gz", format=tarfile.PAX_FORMAT)
def file(name, text="x", mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(text), mode, 1000000000
    tar.addfile(info, io.BytesIO(text.encode()))
def entry(name, type, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, link
    tar.addfile(info)
$1
tar.close()
PYTHON
}

refuses_archive() {
  refuses "chillbox-unpack: fatal: the archive is refused: $1" script chillbox-unpack "$archive" "$target" hello
  [ ! -e "$target" ]
}

@test "unpacks what is below the top folder, with plain modes and the files' dates" {
  archive 'entry("hello/", tarfile.DIRTYPE); file("hello/a/b.txt", "text", 0o666); file("hello/run", "x", 0o711); entry("hello/link", tarfile.SYMTYPE, "a/b.txt")'
  script chillbox-unpack "$archive" "$target" hello
  [ "$(cat "$target/link")" = text ]
  [ "$(stat -c '%a %Y' "$target/a/b.txt")" = '644 1000000000' ]
  [ "$(stat -c %a "$target/run")" = 755 ]
}

@test "refuses names that leave the folder" {
  for name in hello/../x ../x /etc/x hello//x hello/./x other/x hello/a/../../x hell hello/..; do
    archive "file('hello/good'); file('$name')"
    refuses_archive "'.*' is not"
  done
}

@test "refuses links that leave the folder, one by one or together, and entries that lie below one" {
  archive 'entry("hello/link", tarfile.SYMTYPE, "/etc/passwd")'
  refuses_archive '.*outside of the archive'
  archive 'entry("hello/a/link", tarfile.SYMTYPE, "../../etc")'
  refuses_archive '.*outside of the archive'
  archive 'entry("hello/link", tarfile.SYMTYPE, "a"); file("hello/link/x")'
  refuses_archive '.*lies below something that is not a folder'
  archive 'file("hello/f"); file("hello/f/x")'
  refuses_archive '.*lies below something that is not a folder'
  # Each of these stays inside by its text; together the second one leaves by two folders.
  archive 'file("hello/d/e/f/x"); entry("hello/d/e/f/up", tarfile.SYMTYPE, "../../../d"); entry("hello/out", tarfile.SYMTYPE, "d/e/f/up/../../../etc")'
  refuses_archive ".*'..' after a name"
}

@test "refuses devices, fifos, hard links and sparse files" {
  for type in CHRTYPE BLKTYPE FIFOTYPE LNKTYPE GNUTYPE_SPARSE; do
    archive "file('hello/f'); entry('hello/x', tarfile.$type, 'hello/f')" || continue
    run script chillbox-unpack "$archive" "$target" hello
    [ "$status" -eq 1 ]
    [ ! -e "$target" ]
  done
}

@test "refuses duplicates, control characters and what is too much" {
  archive 'file("hello/x"); file("hello/x", "other")'
  refuses_archive '.*is in it twice'
  archive 'file("hello/a\nb")'
  refuses_archive '.*characters that a path must not have'
  archive 'file("hello/a", "x" * 2000)'
  refuses 'more than 1000 bytes' script chillbox-unpack "$archive" "$target" hello --max-bytes 1000
  archive 'file("hello/a"); file("hello/b"); file("hello/c")'
  refuses 'more than 2 entries' script chillbox-unpack "$archive" "$target" hello --max-entries 2
  archive ''
  refuses_archive 'it is empty'
}

@test "refuses setuid, setgid, names that differ in case alone, and a bomb" {
  for mode in 0o4755 0o2755; do
    archive "file('hello/su', 'x', $mode)"
    refuses_archive "'hello/su' is set to run as another user"
  done
  archive 'file("hello/A/x"); file("hello/a/y")'
  refuses_archive "'hello/a/y' differs from 'A' only in upper and lower case"
  archive 'file("hello/caf\u00e9"); file("hello/cafe\u0301")'
  refuses_archive ".*only in upper and lower case"
  archive 'file("hello/0", "0" * 20000000)'
  refuses_archive 'unpacked it would have more than 200 times its own size'
}

@test "says so when an archive is cut off or no archive at all" {
  archive 'file("hello/a", "x" * 100000)'
  head -c 120 "$archive" >"$archive.cut"
  refuses 'the archive is damaged' script chillbox-unpack "$archive.cut" "$target" hello
  echo nonsense >"$archive"
  refuses 'the archive is damaged' script chillbox-unpack "$archive" "$target" hello
  refuses 'No such file' script chillbox-unpack "$archive.none" "$target" hello
}

@test "does not touch a folder that is there" {
  archive 'file("hello/a")'
  mkdir "$target"
  refuses 'File exists' script chillbox-unpack "$archive" "$target" hello
  [ -z "$(ls -A "$target")" ]
}
