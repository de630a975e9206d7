import { join } from 'node:path';
import { cached } from './cache.ts';
import { makeDisk } from './disk.ts';
import { images, imagesRecipe, imageTar } from './image.ts';
import { powerOn } from './machine.ts';
import { plugIn, removeNamespaces } from './network.ts';
import { rootfs } from './rootfs.ts';
import { openSession, sessionDirectory, sessionName } from './session.ts';
import { removeTree, run } from './shell.ts';
import { waitFor } from './wait.ts';

/** Returns a directory to copy as a new host's /var/lib/docker, in which every image of the lab is already there. */
export async function dockerStore(): Promise<string> {
  // All trees at once: most of the time they wait for the network.
  const [[root], ...tars] = await Promise.all([rootfs({ release: 'bookworm' }), ...images.map(imageTar)]);
  return cached({
    name: 'docker-store',
    recipe: JSON.stringify([root, imagesRecipe]),
    make: (path) => importImages(tars, path),
  });
}

/** Lets a machine's own Docker import the images, and keeps what it then has. */
async function importImages(tars: string[], target: string): Promise<void> {
  openSession();
  const name = 'image-store';
  const directory = join(sessionDirectory, name);
  const disk = await makeDisk(directory, { name, hosts: '', docker: true, release: 'bookworm' });
  const { namespace } = await plugIn(sessionName, name);
  const machine = await powerOn(`${sessionName}/${name}`, namespace, disk);
  const inside = (...argv: string[]) => machine.enter(argv);
  await waitFor(() => run(inside('docker', 'info')), { what: 'Docker of the image store' });
  for (const [index, image] of images.entries()) {
    const changes = image.changes.flatMap((change) => ['--change', change]);
    const command = inside('docker', 'import', ...changes, '-', image.name);
    await run(['bash', '-c', 'exec < "$1"; shift; exec "$@"', 'bash', tars[index] ?? '', ...command], {
      timeout: 300,
    });
  }
  await run(inside('systemctl', 'stop', 'docker.socket', 'docker.service'));
  await machine.kill();
  await run(['mv', join(directory, 'docker'), target]);
  removeNamespaces(namespace);
  removeTree(directory);
}
