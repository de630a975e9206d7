/*
 * The layout of a header of version 2 (The PROXY protocol, versions 1 & 2, section 2.2): the signature, a byte with the version
 * and the command, a byte with the family and the transport, the number of bytes that follow in 16 bits of network order, the
 * addresses, and type-length-value vectors (TLVs).
 */

/** The 12 bytes that a header of version 2 begins with. */
export const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Bytes before the addresses. */
export const FIXED_SIZE = 16;

/** The version and the command. LOCAL: the connection is one of the proxy's own, such as a health check. */
export const LOCAL_COMMAND = 0x20;
export const PROXY_COMMAND = 0x21;

/** The family and the transport. */
export const TCP4 = 0x11;
export const TCP6 = 0x21;
export const UNIX_STREAM = 0x31;

/** The bytes that the addresses of each family take, by the four high bits: unspecified, IPv4, IPv6, unix. */
export const ADDRESS_SIZES = [0, 12, 36, 216] as const;

/** The size of one path of a unix socket. */
export const PATH_SIZE = 108;

/** The TLV with a CRC32c of the whole header, which is computed with zeros in its place. */
export const TLV_CRC32C = 0x03;

/**
 * TLVs of a client that has connected to a unix socket, from the range for applications (0xE0 to 0xEF): the numbers of its process
 * and its user, as the kernel has told them (SO_PEERCRED, unix(7)), each of 32 bits in network order.
 */
export const TLV_PID = 0xe0;
export const TLV_UID = 0xe1;
