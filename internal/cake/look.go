package cake

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

func soon() time.Time { return time.Now().Add(patience) }

// unkind takes the error out of one of ours, so that it can be told with another operation.
func unkind(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", e.Thing, e.Err)
	}
	return err
}

// Attributes that golang.org/x/sys does not name (linux/rtnetlink.h).
const tcaIngressBlock = 13 // TCA_INGRESS_BLOCK

// Look reads everything around a line's queues.
func (c *Conn) Look(upload, download string) (Found, error) {
	const op = "read queues"
	c.mu.Lock()
	defer c.mu.Unlock()
	f := Found{Names: map[int32]string{}}
	at := map[string]*Place{upload: &f.Upload, download: &f.Download}
	if err := c.nl.SetDeadline(soon()); err != nil {
		return f, c.fail(op, upload, err)
	}
	if err := c.lookLinks(f.Names, at); err != nil {
		return f, c.fail(op, "of all interfaces", err)
	}
	if err := c.lookQdiscs(&f); err != nil {
		return f, c.fail(op, "of "+upload+" and "+download, err)
	}
	if f.Upload.Ingress != "" {
		if err := c.lookFilters(&f.Upload); err != nil {
			return f, c.fail(op, "of "+upload, err)
		}
	}
	return f, nil
}

// dump asks for a list and takes each of its messages, once the list did not change while it was told.
func (c *Conn) dump(ask func(*exchange), begin func(), take func(typ uint16, b []byte) error) error {
	x := c.raw
	for range tries {
		begin()
		ask(x)
		if err := x.do(); err != nil {
			return err
		}
		for x.next() {
			if err := take(x.typ, x.body); err != nil {
				_ = x.finish()
				return err
			}
		}
		if x.fail != nil || !x.intr {
			return x.fail
		}
	}
	return fmt.Errorf("%w: the list changed %d times while it was told", errReply, tries)
}

func (c *Conn) lookLinks(names map[int32]string, at map[string]*Place) error {
	return c.dump(func(x *exchange) {
		x.begin(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		x.ifinfo(0, 0, 0)
		x.u32(iflaExtMask, skipStats)
	}, func() { clear(names) }, func(typ uint16, b []byte) error {
		if typ != unix.RTM_NEWLINK {
			return nil
		}
		if len(b) < ifinfoLen {
			return short("an interface", b)
		}
		i := Place{Exists: true, Up: native.Uint32(b[8:])&unix.IFF_UP != 0}
		i.Index = int32(native.Uint32(b[4:]))
		a := attrs{b: b[ifinfoLen:]}
		for a.next() {
			switch a.typ {
			case unix.IFLA_IFNAME:
				i.Name = string(a.text())
			case unix.IFLA_IFALIAS:
				i.Alias = string(a.text())
			case unix.IFLA_LINKINFO:
				info := attrs{b: a.v}
				for info.next() {
					if info.typ == unix.IFLA_INFO_KIND {
						i.Kind = intern(info.text())
					}
				}
			}
		}
		names[i.Index] = i.Name
		if to := at[i.Name]; to != nil {
			*to = i
		}
		return a.err("an interface")
	})
}

func (c *Conn) lookQdiscs(f *Found) error {
	return c.dump(func(x *exchange) {
		x.begin(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
		x.tcmsg(0, 0, 0, 0)
	}, func() {}, func(typ uint16, b []byte) error {
		if typ != unix.RTM_NEWQDISC {
			return nil
		}
		var q Qdisc
		p, err := splitQdisc(b, &q)
		if err != nil {
			return err
		}
		for _, i := range []*Place{&f.Upload, &f.Download} {
			switch {
			case !i.Exists || i.Index != q.Index:
			case q.Parent == Ingress:
				i.Ingress, i.Shared = q.Kind, hasAttr(b[tcmsgLen:], tcaIngressBlock)
			case q.Parent != Root:
			case q.Kind == kindCake:
				i.HasRoot = true
				if err := decodeCake(b, &i.Root); err != nil {
					return err
				}
			default:
				i.HasRoot, i.Root = true, Cake{Qdisc: q}
				if err := i.Root.stats(p.stats2, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func hasAttr(b []byte, typ uint16) bool {
	a := attrs{b: b}
	for a.next() {
		if a.typ == typ {
			return true
		}
	}
	return false
}

func (c *Conn) lookFilters(i *Place) error {
	return c.dump(func(x *exchange) {
		x.begin(unix.RTM_GETTFILTER, unix.NLM_F_DUMP)
		x.tcmsg(i.Index, 0, filterParent, 0)
	}, func() { i.Filters = nil }, func(typ uint16, b []byte) error {
		if typ != unix.RTM_NEWTFILTER {
			return nil
		}
		f, ok, err := decodeFilter(b)
		if ok {
			i.Filters = append(i.Filters, f)
		}
		return err
	})
}

// decodeFilter reads one filter; ok is false for the head of a row of them, which is none itself.
func decodeFilter(b []byte) (f Filter, ok bool, err error) {
	if len(b) < tcmsgLen {
		return f, false, short("a filter", b)
	}
	f.Handle, f.Pref = native.Uint32(b[8:]), uint16(native.Uint32(b[16:])>>16)
	a := attrs{b: b[tcmsgLen:]}
	var options []byte
	for a.next() {
		switch a.typ {
		case tcaKind:
			f.Kind = string(a.text())
		case tcaOptions:
			options = a.v
		}
	}
	if err := a.err("a filter"); err != nil {
		return f, false, err
	}
	// The action's place differs by kind (TCA_U32_ACT is 7, TCA_FLOWER_ACT 3, TCA_BPF_ACT 1 …); only matchall's is read, and
	// of the others that there is a mirred in them.
	if f.Kind != kindMatchall {
		f.Redirects = mentions(options, kindMirred)
		return f, f.Handle != 0, nil
	}
	o := attrs{b: options}
	for o.next() {
		if o.typ == matchallAct {
			decodeActions(o.v, &f)
		}
	}
	return f, f.Handle != 0, o.err("a filter")
}

// decodeActions finds the redirection among a filter's actions.
func decodeActions(b []byte, f *Filter) {
	for list := (attrs{b: b}); list.next(); {
		kind, parms, cookie := "", []byte(nil), ""
		for a := (attrs{b: list.v}); a.next(); {
			switch a.typ {
			case actKind:
				kind = string(a.text())
			case actCookie:
				cookie = string(a.v)
			case actOptions:
				for m := (attrs{b: a.v}); m.next(); {
					if m.typ == mirredParms {
						parms = m.v
					}
				}
			}
		}
		if kind != kindMirred {
			continue
		}
		f.Redirects, f.Cookie = true, cookie
		if len(parms) >= mirredLen {
			f.To = int32(native.Uint32(parms[24:]))
		}
	}
}

// mentions says whether an attribute somewhere in b, nested up to four deep, is that text.
func mentions(b []byte, text string) bool { return mentioned(b, text, 4) }

func mentioned(b []byte, text string, deep int) bool {
	if deep == 0 {
		return false
	}
	for a := (attrs{b: b}); a.next(); {
		if same(a.text(), text) || (len(a.v) > nlaHeader && mentioned(a.v, text, deep-1)) {
			return true
		}
	}
	return false
}
