// Formats Lua files as stylua.toml says, or with --check reports those that differ (exit code 1).
// The published command downloads a program when it is installed; this runs the WebAssembly build instead.

import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const stylua = createRequire(join(process.cwd(), "build/stylua/"))("@johnnymorganz/stylua");
const enums = {
  syntax: stylua.LuaVersion,
  line_endings: stylua.LineEndings,
  indent_type: stylua.IndentType,
  quote_style: stylua.QuoteStyle,
  call_parentheses: stylua.CallParenType,
};

function config() {
  const result = stylua.Config.new();
  for (const line of readFileSync("stylua.toml", "utf8").split("\n").filter(Boolean)) {
    const [, key, text] = /^(\w+) = (.+)$/.exec(line);
    const value = JSON.parse(text);
    result[key] = key in enums ? enums[key][value] : value;
  }
  return result;
}

function* luaFiles(path) {
  if (statSync(path).isFile()) {
    if (path.endsWith(".lua")) yield path;
  } else {
    for (const name of readdirSync(path).sort()) yield* luaFiles(join(path, name));
  }
}

const paths = process.argv.slice(2);
const check = paths[0] === "--check";
if (check) paths.shift();
for (const file of paths.flatMap((path) => [...luaFiles(path)])) {
  const before = readFileSync(file, "utf8");
  const after = stylua.formatCode(before, config(), undefined, stylua.OutputVerification.Full);
  if (before === after) continue;
  if (!check) {
    writeFileSync(file, after);
    continue;
  }
  const wanted = after.split("\n");
  const line = before.split("\n").findIndex((text, i) => text !== wanted[i]);
  console.error(`${file}:${line + 1}: not formatted (run "make format"); expected: ${wanted[line]}`);
  process.exitCode = 1;
}
