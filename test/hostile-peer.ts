// A machine that has the key, proves an identity of its own, and answers as it likes. Prints "listening" when it does, and then
// each request on a line.
//
//   node --import tsx test/hostile-peer.ts KEY-FILE ANSWERS-FILE
//
// The file of answers is read for each request. It holds a JSON object: of each method and path, such as "GET /v1/version", or of
// the beginning of it, the status and the body of the answer, as [200, {…}]. Whatever it does not name is answered with 404 and the
// code not-found. The text "$candidate" in an answer stands for the first pair of addresses that was offered for a tunnel.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { readKeys } from '../src/api/key.ts';
import { createProof } from '../src/api/proof.ts';
import { serverTls } from '../src/api/tls.ts';
import { createIdentity } from '../src/state/identity.ts';

/** What a request is answered with, by its method and path. */
export type Answers = Record<string, [status: number, body: unknown]>;

const UNKNOWN: Answers[string] = [404, { error: { code: 'not-found', message: 'no such thing here' } }];

const [keyFile = '', answersFile = ''] = process.argv.slice(2);
const identity = createIdentity();

createServer(
  serverTls(() => readKeys(keyFile)),
  async (request, response) => {
    const name = `${request.method} ${request.url}`;
    const body = Buffer.concat(await request.toArray()).toString();
    if (name === 'PUT /v1/session') {
      answer(200, createProof(identity, request.socket as TLSSocket, 'server'));
      return;
    }
    console.log(`${name} ${body}`);
    const answers: Answers = JSON.parse(readFileSync(answersFile, 'utf8'));
    const names = Object.keys(answers);
    const known = names.find((key) => name === key) ?? names.find((key) => name.startsWith(key));
    answer(...(answers[known ?? ''] ?? UNKNOWN));

    function answer(status: number, content: unknown): void {
      if (status === 204) response.writeHead(204).end();
      else
        response
          .writeHead(status, { 'content-type': 'application/json' })
          .end(
            JSON.stringify(content).replace('"$candidate"', () =>
              JSON.stringify(JSON.parse(body).candidates[0]),
            ),
          );
    }
  },
).listen(9999, '::', () => console.log(`listening as ${identity.id}`));
