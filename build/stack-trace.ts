import { readFileSync } from 'node:fs';
import type { SourceMap } from 'node:module';

/*
 * Stands at the beginning of each program, and makes its stack traces name the source files. It costs nothing at the start:
 * the source map is read when the first stack trace is. node --enable-source-maps would read it at every start.
 */

/** The source map of this program; null when it has none. */
let map: SourceMap | null | undefined;

Error.prepareStackTrace = (error, sites) => [describe(error), ...sites.map(locate)].join('\n    at ');

function describe(error: Error): string {
  try {
    return String(error);
  } catch {
    return 'Error';
  }
}

/** A frame as V8 writes it, with the place in the source instead of that in the program. */
function locate(site: NodeJS.CallSite): string {
  const frame = String(site);
  const [line, column] = [site.getLineNumber(), site.getColumnNumber()];
  if (site.getFileName() !== __filename || line === null || column === null) return frame;
  if (map === undefined) map = readSourceMap();
  const entry = map?.findEntry(line - 1, column - 1);
  if (!entry || !('originalSource' in entry)) return frame;
  const source = entry.originalSource.replace(/^(?:\.\.\/)+/, '');
  return frame.replace(
    `${__filename}:${line}:${column}`,
    `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`,
  );
}

function readSourceMap(): SourceMap | null {
  try {
    const module = require('node:module') as typeof import('node:module');
    return new module.SourceMap(JSON.parse(readFileSync(`${__filename}.map`, 'utf8')));
  } catch {
    // A stack trace of the program's own lines is better than none.
    return null;
  }
}
