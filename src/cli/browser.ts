import { spawn } from 'node:child_process';
import { fchownSync, lstatSync } from 'node:fs';
import { writeAtomically } from '../system/files.js';

/** Who the browser belongs to. */
interface User {
  uid: number;
  gid: number;
}

/** Whether there is a desktop that a browser could appear on: graphical programs find it by these variables. */
export function isDesktop({ DISPLAY, WAYLAND_DISPLAY }: NodeJS.ProcessEnv): boolean {
  return Boolean(DISPLAY || WAYLAND_DISPLAY);
}

/**
 * Has the desktop open an address in the browser of the user who has called sudo. The address is a secret until it is used, and every
 * user sees the arguments of programs: the browser gets the name of a file, which only the user can read, that leads to it.
 *
 * @throws Error when there is no session of that user, or no program that opens files
 */
export async function openInBrowser(url: string, env: NodeJS.ProcessEnv): Promise<void> {
  const user: User = {
    uid: Number(env.SUDO_UID ?? process.getuid?.()),
    gid: Number(env.SUDO_GID ?? process.getgid?.()),
  };
  const directory = `/run/user/${user.uid}`;
  if (lstatSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new Error(`user ${user.uid} has no session on this machine: open ${url} in a browser`);
  const file = `${directory}/wormhole-web.html`;
  const text = `<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=${url}"><title>Wormhole</title>\n`;
  // The directory is the user's, who may put anything in the place of the file: it is theirs before it has its name.
  writeAtomically(file, text, { mode: 0o600, prepare: (fd) => fchownSync(fd, user.uid, user.gid) });
  const status = await new Promise<number | null>((resolve, reject) => {
    const opener = spawn('xdg-open', [file], {
      ...user,
      stdio: 'ignore',
      env: { ...env, XDG_RUNTIME_DIR: directory },
    });
    opener.on('error', ({ message }) =>
      reject(new Error(`no browser was opened (${message}): open ${url} in one`)),
    );
    opener.on('exit', resolve);
  });
  if (status !== 0)
    throw new Error(`no browser was opened (xdg-open exits with ${status}): open ${url} in one`);
}
