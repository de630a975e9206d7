/** The ids of the links that lead through the tunnel to a machine. */
export function usedBy(_peer: string): string[] {
  // No recipe that this version can create has a tunnel in it.
  return [];
}
