'use strict';
// Preloaded by the programs of Wormhole on an emulated machine, where V8 takes half of the time of a short command to compile them: it
// loads what V8 has compiled of the same file before, beside this file. With LAB_COMPILE_CACHE=record, that is written when the program
// ends. V8 refuses what another Node has compiled, or of another text, and then compiles as ever.
const { readFileSync, writeFileSync } = require('node:fs');
const Module = require('node:module');
const { basename, dirname, join } = require('node:path');
const { Script } = require('node:vm');

const compile = Module.prototype._compile;

function readCache(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

Module.prototype._compile = function (content, filename) {
  if (!/\/wormholed?\.cjs$/.test(filename)) return compile.call(this, content, filename);
  const path = join(__dirname, `${basename(filename)}.compiled`);
  // The line of the interpreter stays a line.
  const text = Module.wrap(content.replace(/^#!/, '//'));
  const script = new Script(text, { filename, cachedData: readCache(path) });
  if (process.env.LAB_COMPILE_CACHE === 'record')
    process.on('exit', () => writeFileSync(path, script.createCachedData()));
  const require = Module.createRequire(filename);
  require.main = process.mainModule;
  return script
    .runInThisContext()
    .call(this.exports, this.exports, require, this, filename, dirname(filename));
};
