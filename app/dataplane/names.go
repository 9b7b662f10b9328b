package dataplane

import (
	"fmt"
	"net/netip"
	"os"

	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/dns"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/nds"
)

// resolvConf is the machine's resolver configuration.
const resolvConf = "/etc/resolv.conf"

// meshDomain is the DNS suffix of the mesh's own services.
const meshDomain = "cluster.local"

// buildDNS makes the DNS proxy, if the program's queries come here.
func (p *Proxy) buildDNS() error {
	if len(p.config.DNSPackets) == 0 {
		return nil
	}
	f, err := os.Open(resolvConf)
	if err == nil {
		defer f.Close()
		p.resolved, err = dns.ParseResolvConf(f)
	}
	if err != nil {
		p.log.Warn("names outside the mesh do not resolve", "error", err)
	}
	p.dns = dns.New(dns.Config{Table: p.table(nil), Resolvers: p.resolved})
	return nil
}

func (p *Proxy) table(hosts []dns.Host) *dns.Table {
	return dns.NewTable(dns.TableConfig{Hosts: hosts, Namespace: p.config.Namespace, Domain: meshDomain, Search: p.resolved.Search})
}

// updateNames puts a new name table in force.
func (p *Proxy) updateNames(u xds.Update) []xds.Refusal {
	if p.dns == nil {
		return nil
	}
	var hosts []dns.Host
	for _, r := range u.Added {
		t := new(nds.NameTable)
		if err := proto.Unmarshal(r.Body().GetValue(), t); err != nil {
			return []xds.Refusal{{Name: r.Name, Err: fmt.Errorf("name table: %w", err)}}
		}
		for name, info := range t.GetTable() {
			h := dns.Host{Name: name}
			for _, ip := range info.GetIps() {
				a, err := netip.ParseAddr(ip)
				if err != nil {
					return []xds.Refusal{{Name: r.Name, Err: fmt.Errorf("name table, %s: %w", name, err)}}
				}
				h.Addrs = append(h.Addrs, a)
			}
			hosts = append(hosts, h)
		}
	}
	if len(u.Added) > 0 {
		p.dns.SetTable(p.table(hosts))
	}
	p.named.Store(true)
	return nil
}
