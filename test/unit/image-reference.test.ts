import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isImageOf } from '../../src/docker-run/image-reference.ts';

const hex = 'cafe'.repeat(16);
const digest = `sha256:${'0'.repeat(64)}`;
const id = `sha256:${hex}`;

/** References, and the names of one image that they mean. */
const means: [reference: string, tags: string[], digests?: string[]][] = [
  ['nginx', ['nginx:latest']],
  ['nginx', ['docker.io/library/nginx:latest']],
  ['docker.io/nginx', ['nginx:latest']],
  ['index.docker.io/library/nginx:latest', ['nginx:latest']],
  ['nginx:1.25', ['nginx:latest', 'nginx:1.25']],
  ['me/app', ['me/app:latest']],
  ['localhost/app', ['localhost/app:latest']],
  ['host:5000/app', ['host:5000/app:latest']],
  ['ghcr.io/me/app:2', ['ghcr.io/me/app:2']],
  [`nginx@${digest}`, [], [`nginx@${digest}`]],
  [`nginx:1.25@${digest}`, [], [`nginx@${digest}`]],
  ['cafe', ['cafe:latest']],
  [hex, []],
  [id, []],
];

const doesNotMean: [reference: string, tags: string[], digests?: string[]][] = [
  ['cafe', []],
  ['cafe', ['nginx:latest']],
  ['cafecafecafe', ['cafe:latest']],
  [hex.slice(1), []],
  ['nginx:1.25', ['nginx:latest']],
  ['nginx', ['me/nginx:latest']],
  ['nginx', ['host:5000/nginx:latest']],
  ['me/app', ['ghcr.io/me/app:latest']],
  [`nginx@${digest}`, ['nginx:latest'], [`nginx@sha256:${'1'.repeat(64)}`]],
];

for (const [reference, RepoTags, RepoDigests = []] of means) {
  test(`"${reference}" is an image called ${[...RepoTags, ...RepoDigests].join(', ') || 'nothing'}`, () =>
    assert.ok(isImageOf(reference, { Id: id, RepoTags, RepoDigests })));
}

for (const [reference, RepoTags, RepoDigests = []] of doesNotMean) {
  test(`"${reference}" is no image called ${[...RepoTags, ...RepoDigests].join(', ') || 'nothing'}`, () =>
    assert.not(isImageOf(reference, { Id: id, RepoTags, RepoDigests })));
}

test('an image without any name, as older engines describe it', () => {
  assert.ok(isImageOf(id, { Id: id, RepoTags: null, RepoDigests: null }));
  assert.not(isImageOf('cafe', { Id: hex, RepoTags: null }));
});

test.run();
