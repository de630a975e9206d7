import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { imageArchive, pauseImage, pauseImages } from '../../src/docker/pause-image.ts';

/** The id that the engine gives an image: the digest of its configuration, which is the name of a file in it. */
async function id(architecture: 'amd64' | 'arm64'): Promise<string | undefined> {
  return /([0-9a-f]{64})\.json/.exec((await imageArchive(architecture)).toString('latin1'))?.[1];
}

test('the image of holders is the same everywhere; when it changes, so does its number', async () => {
  assert.is(pauseImage, 'wormhole/pause:1');
  assert.is(await id('amd64'), 'f8a56ee5cec498142fdef5da64df7defc7eb0ef3cfef98145da42263c7f67bc8');
  assert.is(await id('arm64'), 'dcdf333525048ecc9308639053207ca819461bca6b7961b165bb7271fa3e66ee');
});

test('holders are told from other containers by the images that have been theirs', async () => {
  for (const [at, architecture] of (['amd64', 'arm64'] as const).entries()) {
    assert.is(pauseImages[at]?.id, `sha256:${await id(architecture)}`);
    const archive = (await imageArchive(architecture)).toString('latin1');
    assert.is(pauseImages[at]?.layer, /"diff_ids":\["(sha256:[0-9a-f]{64})"\]/.exec(archive)?.[1]);
  }
});

test('two archives are the same to the byte', async () => {
  assert.equal(await imageArchive('amd64'), await imageArchive('amd64'));
});

test.run();
