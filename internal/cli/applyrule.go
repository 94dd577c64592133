package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// kernelRule carries the emulated steering rule out with nftables: while the rule is enabled, a chain of an existing
// table of family ip holds the one rule that gives new connections a mark. What jumps to the chain, and what derives the
// route from the mark, is there already: as on RouterOS, only this one rule comes and goes.
type kernelRule struct {
	comment string
	chain   *nftables.Chain
	mark    uint32
	conn    *nftables.Conn
}

const ruleForm = "table:T,chain:C,mark:N[,netns:NAME]"

// newKernelRule parses a place and begins with the rule disabled. Table and chain must exist.
func newKernelRule(spec, comment string) (*kernelRule, error) {
	got := map[string]string{}
	for _, f := range strings.Split(spec, ",") {
		k, v, ok := strings.Cut(f, ":")
		if _, twice := got[k]; !ok || v == "" || twice || !strings.Contains(" table chain mark netns ", " "+k+" ") {
			return nil, fmt.Errorf("%q does not belong there; the form is %s", f, ruleForm)
		}
		got[k] = v
	}
	mark, err := strconv.ParseUint(got["mark"], 0, 32)
	if err != nil || mark == 0 || got["table"] == "" || got["chain"] == "" {
		return nil, fmt.Errorf("is not of the form %s with a mark above 0", ruleForm)
	}
	opts := []nftables.ConnOption{nftables.AsLasting()}
	if ns := got["netns"]; ns != "" {
		f, err := os.Open(filepath.Join("/run/netns", ns))
		if err != nil {
			return nil, fmt.Errorf("network namespace %s: %w", ns, err)
		}
		defer f.Close()
		opts = append(opts, nftables.WithNetNSFd(int(f.Fd())))
	}
	r := &kernelRule{comment: comment, mark: uint32(mark)}
	if r.conn, err = nftables.New(opts...); err != nil {
		return nil, fmt.Errorf("nftables: %w (needs root)", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: got["table"]}
	r.chain = &nftables.Chain{Name: got["chain"], Table: table}
	if err := r.set(false); err != nil {
		return nil, errors.Join(err, r.conn.CloseLasting())
	}
	return r, nil
}

// set puts the rule into its chain, or takes it out.
func (r *kernelRule) set(enabled bool) error {
	r.conn.FlushChain(r.chain)
	if enabled {
		r.conn.AddRule(&nftables.Rule{Table: r.chain.Table, Chain: r.chain, Exprs: []expr.Any{
			&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: 4,
				Mask: binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW), Xor: make([]byte, 4),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, r.mark)},
			&expr.Ct{Register: 1, Key: expr.CtKeyMARK, SourceRegister: true},
		}})
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("set the rule in chain %s of table ip %s: %w", r.chain.Name, r.chain.Table.Name, err)
	}
	return nil
}

// ruledApplier is an applier that carries out one rule, too.
type ruledApplier struct {
	applier
	rule *kernelRule
}

// ApplyRule carries the rule out; every other one is in memory alone.
func (a ruledApplier) ApplyRule(comment string, enabled bool) error {
	if comment != a.rule.comment {
		return nil
	}
	return a.rule.set(enabled)
}

func (a ruledApplier) Close() error {
	return errors.Join(a.applier.Close(), a.rule.conn.CloseLasting())
}
