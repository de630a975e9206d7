import { EngineDown } from '../docker/engine.js';
import { connectSystemd } from '../systemd/systemd.js';

/**
 * Makes sure that asking the Docker engine starts nothing.
 *
 * docker.socket starts an engine that is stopped at the first request. Whoever stopped it, or stops it at this moment,
 * did not want that, so systemd is asked first. An engine that is no unit of systemd's is simply asked.
 *
 * @throws EngineDown when docker.service exists and neither runs nor starts
 */
export async function requireEngine(): Promise<void> {
  if (process.env.DOCKER_HOST !== undefined) return;
  const systemd = await connectSystemd();
  try {
    const { load, active } = await systemd.state('docker.service');
    if (load === 'loaded' && !['active', 'activating', 'reloading'].includes(active)) {
      throw new EngineDown(`Docker is not running (docker.service is ${active}): systemctl start docker`);
    }
  } finally {
    systemd.close();
  }
}
