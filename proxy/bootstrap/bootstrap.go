// Package bootstrap reads what a proxy is started with: an Envoy bootstrap, in
// YAML or JSON.
//
// Who calls it: app, for `lateen-proxy -c FILE`. It is pure but for reading the
// file, and starts no goroutine.
//
// May import: xds.
package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
)

// maxFile bounds a bootstrap file, in bytes.
const maxFile = 32 << 20

// Bootstrap is a bootstrap that has been read.
type Bootstrap struct {
	// Raw is the whole message, for the config dump.
	Raw  *bootstrapv3.Bootstrap
	Node *corev3.Node
	// Admin is where the admin pages are served; invalid for nowhere.
	Admin netip.AddrPort
	// Static are the static resources, in the order in which they must be made:
	// secrets, clusters, listeners.
	Static []xds.Update
	// ADS is the name of the static cluster that serves discovery, "" for none.
	ADS string
}

// Load reads a file.
func Load(path string) (*Bootstrap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("bootstrap %s: more than %d MiB", path, maxFile>>20)
	}
	return Parse(path, b)
}

// Parse reads a bootstrap's text. name stands in errors, which have the line.
func Parse(name string, text []byte) (*Bootstrap, error) {
	json, err := toJSON(text)
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	raw := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(json, raw); err != nil {
		return nil, withLine(name, err)
	}
	b := &Bootstrap{Raw: raw, Node: raw.GetNode()}
	if b.Admin, err = adminAddress(raw); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	if b.Static, err = static(raw.GetStaticResources()); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	for _, s := range raw.GetDynamicResources().GetAdsConfig().GetGrpcServices() {
		b.ADS = s.GetEnvoyGrpc().GetClusterName()
		break
	}
	return b, nil
}

func adminAddress(b *bootstrapv3.Bootstrap) (netip.AddrPort, error) {
	a := b.GetAdmin().GetAddress().GetSocketAddress()
	if a == nil {
		return netip.AddrPort{}, nil
	}
	p, err := netip.ParseAddrPort(netJoin(a.GetAddress(), a.GetPortValue()))
	if err != nil {
		return p, fmt.Errorf("admin.address: %w", err)
	}
	return p, nil
}

func netJoin(host string, port uint32) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.FormatUint(uint64(port), 10)
}

func static(r *bootstrapv3.Bootstrap_StaticResources) ([]xds.Update, error) {
	var updates []xds.Update
	secrets, err := update(xds.SecretType, r.GetSecrets())
	clusters, cerr := update(xds.ClusterType, r.GetClusters())
	listeners, lerr := update(xds.ListenerType, r.GetListeners())
	if err := errors.Join(err, cerr, lerr); err != nil {
		return nil, err
	}
	for _, u := range []xds.Update{secrets, clusters, listeners} {
		if len(u.Added) > 0 {
			updates = append(updates, u)
		}
	}
	return updates, nil
}

type named interface {
	proto.Message
	GetName() string
}

func update[T named](typeURL string, list []T) (xds.Update, error) {
	u := xds.Update{TypeURL: typeURL, Version: "static"}
	for i, m := range list {
		if m.GetName() == "" {
			return u, fmt.Errorf("static_resources: %s %d has no name", xds.ShortType(typeURL), i)
		}
		r, err := xds.NewResource(m.GetName(), m)
		if err != nil {
			return u, fmt.Errorf("static_resources: %w", err)
		}
		u.Added = append(u.Added, r)
	}
	return u, nil
}
