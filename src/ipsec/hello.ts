import { createHmac, timingSafeEqual } from 'node:crypto';

/*
 * What two machines with a tunnel in UDP send each other every few seconds, between the same ports as ESP: it keeps the
 * routers between them from forgetting the connection, and tells which address and port they make of the sender's.
 *
 * Four zero bytes, which no ESP packet begins with (RFC 3948, 2.2), the tunnel's id, the time in ms since the epoch, and
 * HMAC-SHA256 of that with the sender's machine id before it, so that no machine accepts its own message.
 */
const MARKER = Buffer.alloc(4);
const ID = 8;
const TIME = 8;
const SIGNED = MARKER.length + ID + TIME;

/** A message as it has been read: who it is about, and when it was sent, ms since the epoch. Nothing is proved yet. */
export interface Hello {
  id: string;
  time: number;
}

/**
 * Writes a message.
 *
 * @param machine who sends it
 * @param secret of the key that the machines share
 */
export function writeHello({ id, time }: Hello, machine: string, secret: Buffer): Buffer {
  const stamp = Buffer.alloc(TIME);
  stamp.writeBigUInt64BE(BigInt(time));
  const text = Buffer.concat([MARKER, Buffer.from(id, 'hex'), stamp]);
  return Buffer.concat([text, sign(text, machine, secret)]);
}

/** Reads a message; undefined when it is none. */
export function readHello(message: Buffer): Hello | undefined {
  if (message.length !== SIGNED + 32 || !message.subarray(0, 4).equals(MARKER)) return undefined;
  return { id: message.toString('hex', 4, 4 + ID), time: Number(message.readBigUInt64BE(4 + ID)) };
}

/** Whether a message is of a machine that has the key. */
export function provesHello(message: Buffer, machine: string, secret: Buffer): boolean {
  return timingSafeEqual(sign(message.subarray(0, SIGNED), machine, secret), message.subarray(SIGNED));
}

function sign(text: Buffer, machine: string, secret: Buffer): Buffer {
  return createHmac('sha256', secret).update(`wormhole hello ${machine}`).update(text).digest();
}
