/**
 * Where Wormhole keeps what outlasts a boot and stands in no unit: StateDirectory= of its services. Tests name another directory
 * with WORMHOLE_STATE_DIRECTORY.
 */
export function stateDirectory(): string {
  return process.env.WORMHOLE_STATE_DIRECTORY ?? '/var/lib/wormhole';
}
