/* What ip(8) prints of one tunnel: iproute2 6.1 and Linux 6.1, with TZ=UTC. */

/** `ip -s xfrm state list nokeys`. */
export const STATES = `src fd91::2 dst fd91::3
	proto esp spi 0x7f1bbcc1(2132524225) reqid 1471122956(0x57af8e0c) mode tunnel
	replay-window 0 seq 0x00000000 flag af-unspec esn (0x10100000)
	aead rfc4106(gcm(aes)) <<Keys hidden>> 128
	anti-replay esn context:
	 seq-hi 0x0, seq 0x0, oseq-hi 0x0, oseq 0x6
	 replay_window 128, bitmap-length 4
	 00000000 00000000 00000000 00000000 
	if_id 0x57af8e0c
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 10800(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  504(bytes), 6(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:36
	stats:
	  replay-window 0 replay 0 failed 0
src fd91::3 dst fd91::2
	proto esp spi 0x4de075eb(1306555883) reqid 1471122956(0x57af8e0c) mode tunnel
	replay-window 0 seq 0x00000000 flag af-unspec esn (0x10100000)
	aead rfc4106(gcm(aes)) <<Keys hidden>> 128
	anti-replay esn context:
	 seq-hi 0x0, seq 0x6, oseq-hi 0x0, oseq 0x0
	 replay_window 128, bitmap-length 4
	 00000000 00000000 00000000 0000003f 
	if_id 0x57af8e0c
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 10800(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  504(bytes), 6(packets)
	  add 2026-11-22 21:13:32 use 2026-11-22 21:14:36
	stats:
	  replay-window 0 replay 0 failed 0
`;

/** `ip -s xfrm policy list`. */
export const POLICIES = `src 0.0.0.0/0 dst 100.64.19.99/32 uid 0
	dir out action block index 17 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 0.0.0.0/0 dst 100.64.19.99/32 uid 0
	dir fwd action block index 10 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 0.0.0.0/0 dst 100.64.19.98/32 uid 0
	dir in action block index 8 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 100.64.19.99/32 dst 100.64.19.98/32 uid 0
	dir in action allow index 40 priority 0 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
	tmpl src fd91::3 dst fd91::2
		proto esp spi 0x00000000(0) reqid 1471122956(0x57af8e0c) mode tunnel
		level required share any 
		enc-mask ffffffff auth-mask ffffffff comp-mask ffffffff
	if_id 0x57af8e0c
src 100.64.19.98/32 dst 100.64.19.99/32 uid 0
	dir out action allow index 33 priority 0 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
	tmpl src fd91::2 dst fd91::3
		proto esp spi 0x00000000(0) reqid 1471122956(0x57af8e0c) mode tunnel
		level required share any 
		enc-mask ffffffff auth-mask ffffffff comp-mask ffffffff
	if_id 0x57af8e0c
src 0.0.0.0/0 dst 100.64.19.99/32 dev wh-af8e0c uid 0
	dir out action allow index 25 priority 22343 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
`;
