import { UserError } from "./user-error.ts";

/** A host answers with another key than its pin. What a person is told is one line, because Ansible's runner tells its last one. */
export class OtherHostKey extends UserError {
  constructor(host: string) {
    super(
      `${host} answers with another host key than the stack knows: it is not the server that was made, or somebody stands in between. Nothing was sent. What to do: docs/security.md, "When another host answers".`,
    );
  }
}
