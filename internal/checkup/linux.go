package checkup

// linuxAdmin is the check that a line's queues rest on where this host shapes.
const linuxAdmin = "host.rights"

func (l *Linux) checks() []check {
	return []check{
		{linuxAdmin, nil, func() verdict {
			if !l.NetAdmin {
				return verdict{
					Failed, "this process may not change queues", "the kernel wants CAP_NET_ADMIN for it",
					"run it as root, or give the service AmbientCapabilities=CAP_NET_ADMIN",
				}
			}
			return pass("queues may be changed here")
		}},
		{"host.forwarding", nil, func() verdict {
			if !l.Forwarding {
				return verdict{
					Hint, "this host forwards nothing", "it shapes its own traffic alone", "net.ipv4.ip_forward=1 makes it a router",
				}
			}
			return pass("this host forwards packets")
		}},
	}
}
