import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/*
 * Gives the test a state of its own instead of /var/lib/wormhole, which goes when its process ends. To be imported before all
 * modules of src.
 */

/** Where the state of this process is. */
export const stateDirectory = mkdtempSync(join(tmpdir(), 'wormhole-state-'));
process.env.WORMHOLE_STATE_DIRECTORY = stateDirectory;
process.on('exit', () => rmSync(stateDirectory, { recursive: true, force: true }));
