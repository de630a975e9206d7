import {
  acceptTunnel,
  answerGreeting,
  type CallingMachine,
  dropTunnel,
  settleTunnel,
} from '../tunnel/answer.js';
import { listTunnels } from '../tunnel/list.js';
import type { TunnelSettings } from '../tunnel/settings.js';
import type { Caller } from './caller.js';
import { Failure } from './failure.js';
import type { Route } from './routes.js';
import { checkMachine, checkProposal, checkSettlement, checkTunnelId, toWire } from './tunnel-schema.js';

/** The routes of the API that are about tunnels, by method; undefined for a path that is not. */
export function tunnelRoutes(path: string, settings: TunnelSettings): Record<string, Route> | undefined {
  if (path === '/v1/tunnels') return { GET: listRoute() };
  const [, id, rest] = /^\/v1\/tunnels\/([^/?#]+)(\/[^?#]+)?$/.exec(path) ?? [];
  if (id === undefined) return undefined;
  if (id === 'with' && rest !== undefined) return { GET: greetRoute(rest.slice(1), settings) };
  if (rest === '/settle') return { POST: settleRoute(id) };
  return rest === undefined ? { PUT: proposeRoute(id, settings), DELETE: deleteRoute(id) } : undefined;
}

function listRoute(): Route {
  return {
    takesBody: false,
    read: () => ({ run: async () => ({ status: 200, body: await listTunnels() }) }),
  };
}

function greetRoute(machine: string, settings: TunnelSettings): Route {
  return {
    takesBody: false,
    read() {
      const checked = checkMachine(machine);
      return {
        async run(caller) {
          requireMachine(caller);
          return { status: 200, body: await answerGreeting(checked, settings) };
        },
      };
    },
  };
}

function proposeRoute(id: string, settings: TunnelSettings): Route {
  return {
    takesBody: true,
    read(body) {
      const checked = checkTunnelId(id);
      const proposal = checkProposal(body);
      return {
        change: `tunnel ${checked}, ${proposal.mode}: new keys`,
        async run(caller) {
          const accepted = await acceptTunnel(checked, proposal, requireMachine(caller), settings);
          const { local, remote } = accepted.overlay;
          return { status: 200, body: toWire(accepted), told: `${local} there, ${remote} here` };
        },
      };
    },
  };
}

function settleRoute(id: string): Route {
  return {
    takesBody: true,
    read(body) {
      const checked = checkTunnelId(id);
      const settlement = checkSettlement(body);
      return {
        change: `tunnel ${checked}: up on both sides`,
        async run(caller) {
          requireMachine(caller);
          await settleTunnel(checked, settlement);
          return { status: 204, told: 'done' };
        },
      };
    },
  };
}

function deleteRoute(id: string): Route {
  return {
    takesBody: false,
    read() {
      const checked = checkTunnelId(id);
      return {
        change: `delete tunnel ${checked}`,
        async run(caller) {
          requireMachine(caller);
          await dropTunnel(checked);
          return { status: 204, told: 'done' };
        },
      };
    },
  };
}

function requireMachine(caller: Caller): CallingMachine {
  if (caller.kind === 'machine') return caller;
  throw new Failure('usage', 'only another machine can agree on a tunnel: wormhole tunnel-create HOST', 403);
}
