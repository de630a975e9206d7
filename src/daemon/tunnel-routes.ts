import { checkProposal, checkSettlement, checkTunnelId, toWire } from '../api/tunnel-schema.js';
import { listTunnels } from '../tunnels/list.js';
import { acceptTunnel, dropTunnel, ownStatus, settleTunnel } from '../tunnels/respond.js';
import type { TunnelSettings } from '../tunnels/settings.js';
import { type Caller, type MachineCaller, requireMachine } from './caller.js';
import { getRoute, type Route, type Routes } from './route.js';

/** The routes of the API that are about tunnels, by method; undefined for a path that is not. */
export function tunnelRoutes(path: string, settings: TunnelSettings): Routes | undefined {
  if (path === '/v1/tunnels') return { GET: getRoute(() => listTunnels()) };
  if (path === '/v1/tunnels/shared')
    return { GET: getRoute((caller) => ownStatus(requirePeer(caller).id, settings)) };
  const [, id, rest] = /^\/v1\/tunnels\/([^/?#]+)(\/[^?#]+)?$/.exec(path) ?? [];
  if (id === undefined) return undefined;
  if (rest === '/settle') return { POST: settleRoute(id) };
  return rest === undefined ? { PUT: proposeRoute(id, settings), DELETE: deleteRoute(id) } : undefined;
}

function proposeRoute(text: string, settings: TunnelSettings): Route {
  return {
    takesBody: true,
    read(body) {
      const id = checkTunnelId(text);
      const proposal = checkProposal(body);
      return {
        change: `tunnel ${id}, ${proposal.mode}: new keys`,
        async run(caller) {
          const { id: machine, local, address: remote } = requirePeer(caller);
          const accepted = await acceptTunnel(id, proposal, { machine, local, remote }, settings);
          const { inner } = accepted;
          return {
            status: 200,
            body: toWire(accepted),
            logged: `${inner.local} there, ${inner.remote} here`,
          };
        },
      };
    },
  };
}

function settleRoute(text: string): Route {
  return {
    takesBody: true,
    read(body) {
      const id = checkTunnelId(text);
      const settlement = checkSettlement(body);
      return {
        change: `tunnel ${id}: up on both sides`,
        async run(caller) {
          await settleTunnel(id, settlement, requirePeer(caller).id);
          return { status: 204, logged: 'done' };
        },
      };
    },
  };
}

function deleteRoute(text: string): Route {
  return {
    takesBody: false,
    read() {
      const id = checkTunnelId(text);
      return {
        change: `delete tunnel ${id}`,
        async run(caller) {
          await dropTunnel(id, requirePeer(caller).id);
          return { status: 204, logged: 'done' };
        },
      };
    },
  };
}

function requirePeer(caller: Caller): MachineCaller {
  return requireMachine(caller, 'only another machine can negotiate a tunnel: wormhole tunnel-create HOST');
}
