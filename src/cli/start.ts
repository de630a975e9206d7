import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { Script } from 'node:vm';

/*
 * node start.cjs PROGRAM [ARGUMENT…] runs a program with the code cache beside it, PROGRAM.cache, and without one as node would.
 * Parsing takes half of the time in which a command starts; the cache has V8 skip it: https://v8.dev/blog/code-caching
 *
 * node start.cjs --write-code-cache PROGRAM… writes the caches. install.sh and the package do so, since a cache is for one
 * version of node: another one ignores it.
 */

/** What Node puts around a CommonJS module: https://nodejs.org/api/modules.html#the-module-wrapper */
const WRAPPER = ['(function (exports, require, module, __filename, __dirname) { ', '\n});'] as const;

/** The length of the digest that the build writes at the end of a program, and that its cache begins with. */
const DIGEST = 64;

const [, , first = '', ...rest] = process.argv;
if (first === '--write-code-cache') writeCodeCaches(rest);
else if (first !== '') run(resolve(first));
else fail('which program? node start.cjs PROGRAM [ARGUMENT…], or --write-code-cache PROGRAM…', 2);

function fail(why: string, status: number): void {
  process.stderr.write(`start.cjs: ${why}\n`);
  process.exitCode = status;
}

function writeCodeCaches(programs: string[]): void {
  for (const program of programs) {
    try {
      writeCodeCache(program);
    } catch (error) {
      fail(`no code cache for "${program}": ${(error as Error).message}`, 1);
    }
  }
}

function run(program: string): void {
  process.argv.splice(1, 2, program);
  const source = read(program);
  const cachedData = readCodeCache(program, source);
  const start = compile(program, source, cachedData).runInThisContext() as (...parts: unknown[]) => void;
  const exports = {};
  start.call(exports, exports, createRequire(program), { exports }, program, dirname(program));
}

/** A program has ASCII characters only: as Latin-1, V8 takes them as they are. The first line may name its interpreter. */
function read(program: string): string {
  return readFileSync(program, 'latin1').replace(/^#!.*/, '');
}

function compile(program: string, source: string, cachedData?: Buffer): Script {
  const [head, tail] = WRAPPER;
  // What is before the program in its first line is no part of it.
  const options = { filename: program, columnOffset: -head.length, ...(cachedData && { cachedData }) };
  return new Script(head + source + tail, options);
}

/** The cache of a program; undefined when there is none of this text. V8 itself compares only how long the text is. */
function readCodeCache(program: string, source: string): Buffer | undefined {
  let cache: Buffer;
  try {
    cache = readFileSync(`${program}.cache`);
  } catch {
    return undefined;
  }
  return cache.toString('latin1', 0, DIGEST) === digestOf(source) ? cache.subarray(DIGEST) : undefined;
}

function digestOf(source: string): string {
  return source.trimEnd().slice(-DIGEST);
}

/** Writes the cache of a program to a new file, which then takes the place of the former one. One that serves stays. */
function writeCodeCache(program: string): void {
  const source = read(program);
  const former = readCodeCache(program, source);
  if (former && !compile(program, source, former).cachedDataRejected) return;
  const data = compile(program, source).createCachedData();
  const draft = `${program}.cache.new`;
  try {
    const file = openSync(draft, 'w', 0o644);
    try {
      writeFileSync(file, Buffer.concat([Buffer.from(digestOf(source), 'latin1'), data]));
      // V8 trusts what it reads: half a cache, after a power failure, would crash the program.
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, `${program}.cache`);
  } finally {
    rmSync(draft, { force: true });
  }
}
