import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestAcme } from "../server-scripts/acme.ts";
import type { TestServer } from "../server-scripts/server.ts";
import type { Audit } from "./audit.ts";

const names = ["page.test", "box.test"];

/** testssl.sh of Debian 13, the first with grades, given the root of the ACME server that the certificates come from. HSTS is on. */
export const testssl: Audit = {
  name: "testssl.sh",
  async run({ server, folder }) {
    const program = fetchTestssl(join(folder, "testssl"));
    const acme = new TestAcme(server, { names: Object.fromEntries(names.map((name) => [name, server.host.address])) });
    await acme.start();
    try {
      await getCertificates(server, acme);
      const results: { name: string; grade: string; lines: string[] }[] = [];
      for (const name of names) {
        const options = ["--nodns", "none", "--ip", server.host.address, "--add-ca", acme.roots, "--color", "0"];
        const said = await server.run([...program, ...options, "--warnings", "off", `${name}:443`]);
        writeFileSync(join(folder, `testssl-${name}.txt`), said.out);
        const [, grade = "none"] = /^ Overall Grade +(\S+)/m.exec(said.out) ?? [];
        results.push({ name, grade, lines: said.out.match(/^.*(NOT ok|VULNERABLE|Grade cap).*$/gm) ?? [] });
      }
      return {
        good: results.every(({ grade }) => grade === "A+"),
        lines: results.flatMap(({ name, grade, lines }) => [`${name}: ${grade}`, ...lines.map((line) => line.trim())]),
      };
    } finally {
      await acme.stop();
    }
  },
};

async function getCertificates(server: TestServer, acme: TestAcme): Promise<void> {
  const configured = await server.playbook("configure", {}, acme.input);
  const got = await server.ssh("doas chillbox-certs renew now && doas chillbox-certs status");
  if (configured.code !== 0 || got.code !== 0) throw new Error(configured.errors + got.errors);
}

/**
 * Fetches the package from the mirror that this machine's own apt uses; apt checks it against Debian's keys. The machine's lists and packages stay as
 * they are.
 * @returns the words that start it
 */
function fetchTestssl(folder: string): string[] {
  for (const part of ["lists/partial", "bin"]) mkdirSync(join(folder, part), { recursive: true });
  const targets = execFileSync("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
  const mirror = targets
    .toString()
    .split("\n")
    .find((line) => /\/debian\/?$/.test(line));
  if (!mirror) throw new Error("this machine's apt knows no mirror of Debian");
  const key = "/usr/share/keyrings/debian-archive-keyring.gpg";
  writeFileSync(join(folder, "sources.list"), `deb [signed-by=${key}] ${mirror} trixie main\n`);
  writeFileSync(join(folder, "status"), "");
  writeFileSync(
    join(folder, "apt.conf"),
    `Dir::State::lists "${folder}/lists";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "root";
`,
  );
  const apt = (...words: string[]) =>
    execFileSync("apt-get", ["--quiet", ...words], {
      cwd: folder,
      env: { ...process.env, APT_CONFIG: join(folder, "apt.conf") },
      stdio: ["ignore", "ignore", "inherit"],
    });
  apt("update");
  apt("download", "testssl.sh");
  const archive = readdirSync(folder).find((name) => name.endsWith(".deb")) ?? "";
  execFileSync("dpkg-deb", ["--extract", join(folder, archive), join(folder, "root")]);
  // It wants a program for DNS, which it is told not to use.
  writeFileSync(join(folder, "bin/host"), "#!/bin/sh\nexit 1\n");
  chmodSync(join(folder, "bin/host"), 0o755);
  const environment = [`TESTSSL_INSTALL_DIR=${folder}/root/etc/testssl`, `PATH=${folder}/bin:${process.env.PATH}`];
  return ["env", ...environment, "bash", join(folder, "root/usr/bin/testssl")];
}
