import { openSync } from 'node:fs';
import { serveName } from '../../src/names/serve.ts';

/*
 * names-serve-run.ts FILE: looks localhost up for those who connect to descriptor 3, and writes to a file. A line on its standard input
 * sets the clock back by a day, and is answered.
 */

const [path = ''] = process.argv.slice(2);
const now = Date.now;
let back = 0;
Date.now = () => now() - back;
process.stdin.once('data', () => {
  back = 86_400_000;
  process.stdout.write('set back\n');
  process.stdin.destroy();
});

const service = { link: 'x', name: 'localhost', port: 80, allowLoopback: true, file: openSync(path, 'r+') };
const log = (line: string) => process.stderr.write(`${line}\n`);
await serveName(service, [{ fd: 3, name: 'x' }], { info: log, warn: log });
