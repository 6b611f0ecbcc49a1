import { pythonEnvironment } from "./python-environment.ts";

/** Looks at what sshd offers, in `npm run audit`. */
export const sshAudit = pythonEnvironment({
  name: "ssh-audit",
  version: "3.9.0",
  what: "looks at what sshd offers, in the audit",
  requirements: "tests/audit/requirements.txt",
  program: "ssh-audit",
});
