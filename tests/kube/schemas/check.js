// Checks custom resources, a JSON array on the standard input, and prints what is wrong, a line each.
//
// Twice: by types, which know every field that there is, and by the validators made from the same definitions, which
// know patterns and bounds. `node check.js FOLDER`; FOLDER has node_modules.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const require = createRequire(join(folder, "package.json"));
const ts = require("typescript");

const PACKAGES = {
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "external-secrets.io": "external-secrets",
  "cilium.io": "cilium",
};

const resources = JSON.parse(readFileSync(0, "utf-8"));
const wrong = [];
const lines = [];
for (const [number, resource] of resources.entries()) {
  const [group, version] = resource.apiVersion.split("/");
  const name = `${resource.kind} ${resource.metadata.name}`;
  const known = PACKAGES[group];
  if (known === undefined) {
    wrong.push(`${name}: nothing is known of ${resource.apiVersion}`);
    continue;
  }
  const module = `@kubernetes-models/${known}/${group}/${version}/${resource.kind}`;
  // One line each, so that the line of a diagnostic tells whose it is.
  lines[number] =
    `import { I${resource.kind} as T${number} } from "${module}"; ` +
    `export const r${number}: T${number} = ${JSON.stringify(resource)};`;
  const path = join(folder, "node_modules", `${module}.js`);
  const model = (await import(pathToFileURL(path).href))[resource.kind];
  try {
    new model(resource).validate();
  } catch (error) {
    wrong.push(`${name}: ${error.message}`);
  }
}

const source = join(folder, "resources.ts");
writeFileSync(source, lines.map((line) => line ?? "").join("\n"));
const program = ts.createProgram([source], {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
});
for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
  const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, " ");
  const at = diagnostic.file?.fileName === source ? diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start).line : -1;
  const whose = at < 0 ? "types" : `${resources[at].kind} ${resources[at].metadata.name}`;
  wrong.push(`${whose}: ${text}`);
}
for (const line of wrong) console.log(line);
process.exitCode = wrong.length ? 1 : 0;
