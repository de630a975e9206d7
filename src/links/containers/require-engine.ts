import { EngineDown } from '../../docker/engine.js';
import { withSystemd } from '../../systemd/systemd.js';

/**
 * Makes sure that a request to the Docker engine starts nothing.
 *
 * docker.socket starts a stopped engine at the first request. The administrator who stopped it, or stops it at this moment,
 * did not want that, so systemd is asked first. An engine that is no unit of systemd's is simply used.
 *
 * @throws EngineDown when docker.service exists and neither runs nor starts
 */
export async function requireEngine(): Promise<void> {
  if (process.env.DOCKER_HOST !== undefined) return;
  const { load, active } = await withSystemd((systemd) => systemd.state('docker.service'));
  if (load === 'loaded' && !['active', 'activating', 'reloading'].includes(active)) {
    throw new EngineDown(`Docker is not running (docker.service is ${active}): systemctl start docker`);
  }
}

/** Whether the Docker engine runs or starts. */
export async function engineRuns(): Promise<boolean> {
  try {
    await requireEngine();
    return true;
  } catch (error) {
    if (error instanceof EngineDown) return false;
    throw error;
  }
}
