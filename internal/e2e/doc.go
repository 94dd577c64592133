// Package e2e runs the real binary against real kernel queues: network namespaces for client, router, provider and
// server, real TCP and ICMP between them, and only the router's command line emulated.
//
// Its tests need root, iproute2 and a kernel with HTB, TBF, bfifo, veth and u32; they are skipped, loudly, elsewhere.
// The shaper is a stand-in for CAKE: HTB with two leaves under one ceiling, ICMP, small UDP and acknowledgements
// without data in a leaf of priority 0 and everything else in a byte FIFO of 20 ms. There is no delay line: the idle round
// trip is about 0.1 ms. For steering the house's routing is the test's own: it places each new connection by the rule that
// the emulated router holds, so the runs prove the decision, the rule and its read-back, not RouterOS's packet path.
//
// Where this host is the router, nothing is emulated: the program itself makes nftables, rules and routes, and a server tells
// each client from which address it is talked to.
package e2e
