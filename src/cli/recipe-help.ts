/** The recipe language, for `wormhole help create`. man/wormhole.1 says the same at greater length. */
export const recipeHelp = `The recipe describes a link from its head, where it listens, to its tail, where it connects to:

  url {proto://}{netns@}{host}{:port}  protocol (tcp, udp), named netns, host and port of the current end; on a head, a
                                       second url with another protocol adds a listener
  url unix://{/PATH | netns@@NAME}     a unix socket: a path of this host, or an abstract name; unixgram:// for datagrams,
                                       unixpacket:// for messages over a connection
  docker-ns [CONTAINER]                the current end lives in that container; with no name, on this host
  docker-run "ARGS"                    a container is run as by docker run ARGS, and the current end lives in it
  unit NAME                            the tail is served by that systemd service, which the link starts
  tail                                 from here on the words describe the tail
  trigger                              as tail, but what it describes is started by the first connection
  child                                the rest describes a second link, whose head starts as our tail
  chain                                as child, and its head becomes our tail
  remote HOST                          the rest describes a link on that machine; its head becomes our tail
  tunnel HOST, udptunnel HOST          as remote, through an IPsec tunnel: of ESP, or of ESP in UDP
  service:NAME in place of HOST        the machines that publish NAME, a tail on each: wormhole publish, doc/fleet.md
  id NAME                              the link's id
  idle SPAN                            after this long without a connection, stop what was started: 30s, 5m
  or                                   another tail of the link; --balance says which of them a client gets
  weight N                             the share of the tail before it, 1 to 256

Defaults: protocol tcp, host 127.0.0.1, place this host; a tail has its head's protocol and port; a head without a port
gets a free one, and keeps it. The id is the head's port, followed by -CONTAINER if the head is in one; the id of a child
begins with its parent's. create prints the id and the url of the head.

The head of a remote link listens on that machine's address that faces us, at a port it chooses, and admits only this
machine. It is plain TCP or UDP: anyone on the wire can read it. With tunnel, it listens inside the tunnel, which is
created if there is none, and nobody on the wire can read it.

The host of a tail may be a name: db.example.com. It is looked up when clients come and its TTL is over, in the tail's
namespace: in a container by the container's own DNS server. All its addresses are tried.

A client of a udp:// head has a session, which ends after --udp-timeout without a datagram. A remote link carries its
datagrams as UDP between the machines.

A link serves --max-connections clients at a time, 4000 by default. Further ones wait for 5 s and are then refused.
A link has several tails with or: each client gets the one with the fewest sessions (--balance least), each in turn
(round-robin), the first that works (first), or always the same for its address (source). The head is tcp or a unix stream.
wormhole drain ID TAIL takes one out. With several tails there is no child.

A head with a path belongs to --owner and has --mode, 0666 by default; a socket that no program uses is replaced. The head
leads to a tail of its kind: tcp and unix to tcp or unix, udp to udp or unixgram, the others to their own.

--proxy-protocol tells the target who the client is, by a PROXY header that the target has to expect. --accept-proxy-protocol
is for links behind another proxy: clients from those networks begin with such a header.

Examples:
  this host's port 3306 leads to the one in container db
    wormhole create url :3306 tail docker-ns db
  port 3306 of container db is reachable at 127.0.0.1:3306 in container app
    wormhole create url :3306 docker-ns app tail docker-ns db
  a web server that runs only while somebody is connected, and for five minutes after
    wormhole create url :8080 idle 5m trigger url :80 docker-run "-v www:/usr/share/nginx/html nginx"
  WordPress, started by the first request; it finds its database at its own 127.0.0.1:3306, started in turn
    wormhole create url :80 trigger docker-run wormhole/wordpress child url :3306 trigger docker-run wormhole/mysql
  a container of yours that may be stopped: started on a connection
    wormhole create url :5432 trigger docker-ns postgres
  a service of this host, also one that Quadlet generates: started on a connection, stopped ten minutes after the last
    wormhole create url 10.0.0.7:5432 idle 10m trigger unit postgresql.service
  the database in container db on another machine that has our key
    wormhole create url :3306 remote myserver tail docker-ns db
  the same, started there by the first connection here
    wormhole create url :3306 trigger remote myserver trigger url :3306 docker-run wormhole/mysql
  the same, with encryption between the machines
    wormhole create url :3306 trigger tunnel myserver trigger url :3306 docker-run wormhole/mysql
  DNS, by udp and tcp: one link, with one container
    wormhole create url udp://:53 url tcp:// tail docker-ns dns
  a database in a container, at a path of this host; and a path of this host, at a port in a container
    wormhole create --mode 660 --owner :mysql url unix:///run/mysql.sock tail url tcp://:3306 docker-ns db
    wormhole create url :5432 docker-ns app tail url unix:///run/postgresql/.s.PGSQL.5432
  another port, another name, IPv6, and a namespace made by ip netns add blue
    wormhole create id web url [::1]:8080 tail url blue@:80
  three servers; if one fails, the client gets the next
    wormhole create url :80 tail docker-ns web1 or docker-ns web2 weight 2 or url 10.0.0.7:8080
  a database, and one on another machine that takes over
    wormhole create --balance first url :5432 tail docker-ns primary or remote standby tail docker-ns pg
  a database that several machines publish, as wormhole publish db tail docker-ns mysql does on each
    wormhole create url :3306 tunnel service:db
  two links, one after the other
    wormhole create url :9000 chain url :9001 tail url :9002
  print the files that would be written
    wormhole create --dry-run url :3306 tail docker-ns db
`;
