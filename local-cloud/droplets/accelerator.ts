import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryRun } from "../run.ts";

/** How qemu runs a droplet's instructions. */
export interface Accelerator {
  readonly name: "kvm" | "tcg";
  /** Its arguments for qemu. */
  readonly options: readonly string[];
}

const kvm: Accelerator = { name: "kvm", options: ["-accel", "kvm", "-cpu", "host"] };
/**
 * Where the processor says that it is good at copying bytes (`erms`, `fsrm`) the kernel clears and copies whole pages so, and emulation
 * goes byte by byte: with them a boot takes twice as long.
 */
const tcg: Accelerator = {
  name: "tcg",
  options: ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,erms=off,fsrm=off,svm=off"],
};

/** mov dx, 0xf4; mov al, 0x10; out dx, al; hlt: tells qemu's device of that port to end qemu with exit code 0x10 * 2 + 1. */
const program = Buffer.from([0xba, 0xf4, 0x00, 0xb0, 0x10, 0xee, 0xf4]);
const exitCode = 33;

/**
 * The processor's own virtualization where a guest really runs by it: some machines have /dev/kvm and yet can boot nothing with it. Else
 * software.
 */
export async function findAccelerator(log: (line: string) => void): Promise<Accelerator> {
  const isThere = await access("/dev/kvm").then(
    () => true,
    () => false,
  );
  const found = isThere && (await runsGuest(kvm)) ? kvm : tcg;
  const reason = isThere ? "/dev/kvm boots no guest here" : "there is no /dev/kvm";
  log(
    found === kvm ? "qemu: droplets run by KVM" : `qemu: droplets are emulated in software, which is slow (${reason})`,
  );
  return found;
}

/** Whether a machine with this accelerator boots a disk and runs what is in its first sector. */
export async function runsGuest({ options }: Accelerator): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-qemu-"));
  try {
    const content = Buffer.alloc(1024 * 1024);
    program.copy(content);
    content.writeUInt16LE(0xaa55, 510);
    const disk = join(folder, "disk.raw");
    await writeFile(disk, content);
    const { code } = await tryRun("timeout", [
      ...["-s", "KILL", "30", "qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none"],
      ...["-machine", "q35", "-m", "64", ...options, "-device", "isa-debug-exit,iobase=0xf4"],
      ...["-drive", `file=${disk},format=raw,if=virtio,read-only=on`],
    ]);
    return code === exitCode;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
