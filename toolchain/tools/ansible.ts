import { pythonEnvironment } from "./python-environment.ts";

/** Ansible, apart from any that the person has. */
export const ansible = pythonEnvironment({
  name: "ansible",
  version: "2.19.14",
  what: "prepares the server over ssh",
  requirements: "ansible/requirements.txt",
  program: "ansible-playbook",
});

/** Checks the playbooks, in the tests. */
export const ansibleLint = pythonEnvironment({
  name: "ansible-lint",
  version: "26.10.1",
  what: "checks the playbooks, in the tests",
  requirements: "ansible/lint-requirements.txt",
  program: "ansible-lint",
});
