package dns

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of a resolver configuration, as the C library has them or more.
const (
	maxServers    = 3
	maxSearch     = 32
	maxResolvConf = 64 << 10
	maxNdots      = 15
)

// Resolvers is the machine's own resolver configuration. It is immutable once
// handed to a Server.
type Resolvers struct {
	Servers []netip.AddrPort // in the order of preference
	Search  []string         // domains that programs add to names
	Ndots   int              // programs search first for names with fewer dots
}

// ParseResolvConf reads resolv.conf(5). Lines that make no sense are passed
// over, as resolver libraries do. Without any server it is 127.0.0.1, again as
// they do.
func ParseResolvConf(r io.Reader) (Resolvers, error) {
	res := Resolvers{Ndots: 1}
	scan := bufio.NewScanner(io.LimitReader(r, maxResolvConf))
	for scan.Scan() {
		line := scan.Text()
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			a, err := netip.ParseAddr(f[1])
			if err == nil && len(res.Servers) < maxServers {
				res.Servers = append(res.Servers, netip.AddrPortFrom(a, 53))
			}
		case "search", "domain":
			res.Search = searchDomains(f[1:])
		case "options":
			res.options(f[1:])
		}
	}
	if len(res.Servers) == 0 {
		res.Servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return res, scan.Err()
}

// searchDomains: the last such line counts, so the list starts anew.
func searchDomains(words []string) []string {
	var domains []string
	for _, w := range words {
		if w = canonical(w); w != "" && len(domains) < maxSearch {
			domains = append(domains, w)
		}
	}
	return domains
}

func (r *Resolvers) options(words []string) {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, "ndots:"); ok {
			if n, err := strconv.Atoi(v); err == nil && n >= 0 {
				r.Ndots = min(n, maxNdots)
			}
		}
	}
}
