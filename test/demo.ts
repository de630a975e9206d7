// Shows the main job on a real host: node --import tsx test/demo.ts (npm run demo sets up what that needs)
import { boot, type Host } from './lab/rig/host.ts';

const began = Date.now();

/** Says what takes a while. */
function step(text: string): void {
  process.stdout.write(`\n[${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s] ${text}\n`);
}

/** Types a command at the host, as a person would, and shows what it prints. */
async function type(host: Host, command: string): Promise<string> {
  process.stdout.write(`${host.name}# ${command}\n`);
  const { stdout } = await host.run(`${command} 2>&1`, { timeout: 120 });
  process.stdout.write(stdout);
  return stdout;
}

step(
  'booting a Debian host with systemd and Docker (the first time, its file system and images are made: minutes)',
);
const host = await boot({ name: 'demo' });
try {
  step('installing Wormhole');
  await type(host, '/src/wormhole/install.sh');

  step('starting MariaDB in a container that has no network');
  await type(host, 'docker run -d --network none --name mysql wormhole/mysql');

  step("linking the host's port 3306 to it");
  await type(host, 'wormhole create url :3306 docker-ns tail docker-ns mysql');

  step('asking the database; this first connection starts the forwarder');
  const query = `mysql -u root -h 127.0.0.1 -t -e 'select version(), 6 * 7 as answer'`;
  await host.waitFor(() => host.run(query), { what: 'MariaDB to be ready', timeout: 60 });
  const answer = await type(host, query);
  if (!answer.includes('42')) throw new Error('the database did not answer 42');

  step('what systemd says of the link');
  await type(host, 'systemctl status --no-pager wormhole-3306.socket');
  await type(host, 'systemctl status --no-pager wormhole-3306.service');
  await type(host, 'wormhole list');

  step('what the journal says of it');
  await type(host, `journalctl --no-pager -b -u 'wormhole-3306.*' -u wormhole-netns@mysql.service`);

  step('deleting it');
  await type(host, 'wormhole delete 3306');
} finally {
  step('powering the host off');
  await host.powerOff();
}
step('done; nothing is left running');
