// A machine that has the key, and answers as it likes. Prints "listening" when it does, and each request on a line.
//
//   node --import tsx test/hostile-peer.ts KEY-FILE ANSWERS
//
// ANSWERS is a JSON object: of each method and path, such as "GET /v1/version", or of the beginning of it, the status and the
// body of the answer, as [200, {…}]. Whatever it does not name is answered with 404 and the code not-found.
import { createServer } from 'node:https';
import { readKeys } from '../src/api/key.ts';
import { serverTls } from '../src/api/tls.ts';

/** What a request is answered with, by its method and path. */
export type Answers = Record<string, [status: number, body: unknown]>;

const [keyFile = '', json = '{}'] = process.argv.slice(2);
const answers: Answers = JSON.parse(json);
const UNKNOWN: Answers[string] = [404, { error: { code: 'not-found', message: 'no such thing here' } }];

createServer(
  serverTls(() => readKeys(keyFile)),
  async (request, response) => {
    const name = `${request.method} ${request.url}`;
    console.log(name);
    await request.resume().toArray();
    const known =
      Object.keys(answers).find((key) => name === key) ??
      Object.keys(answers).find((key) => name.startsWith(key));
    const [status, body] = answers[known ?? ''] ?? UNKNOWN;
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  },
).listen(9999, '::', () => console.log('listening'));
