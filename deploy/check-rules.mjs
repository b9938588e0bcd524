// Has protovalidate itself read the rules of every request: of the descriptor set that is named on the command line.
import { readFileSync } from "node:fs";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createValidator } from "@bufbuild/protovalidate";

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(process.argv[2])));
const validator = createValidator({ registry });
const methods = [...registry.files].flatMap((file) => file.services).flatMap((service) => service.methods);
for (const { input } of methods) {
  const { kind, error } = validator.validate(input, create(input));
  if (kind === "error") throw error;
}

const createAccount = registry.getMessage("kith.identity.v1.CreateAccountRequest");
const kindOf = (handle) => validator.validate(createAccount, create(createAccount, { handle, password: "correct horse" })).kind;
if (kindOf("abc") !== "valid" || kindOf("ab") !== "invalid") throw new Error("the rules of a handle are not seen");
console.log(`proto: protovalidate reads the rules of ${methods.length} requests`);
