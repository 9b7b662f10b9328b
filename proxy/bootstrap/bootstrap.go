// Package bootstrap reads what a proxy is started with: an Envoy bootstrap, in
// YAML or JSON.
//
// Who calls it: app, for `lateen-proxy -c FILE`. It is pure but for reading the
// file, and starts no goroutine.
//
// A program that reads bootstraps must link proxy/compile, too, so that the
// extensions inside are known.
//
// May import: lib, xds, proxy/overload, proxy/compile, proxy/plan.
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
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

// maxFile bounds a bootstrap file, in bytes.
const maxFile = 32 << 20

// Bootstrap is a bootstrap that has been read.
type Bootstrap struct {
	// Raw is the whole message, for the config dump.
	Raw  *bootstrapv3.Bootstrap
	Node *corev3.Node
	// Admin is where the admin pages are served; invalid for nowhere. AdminPath
	// is a unix socket instead, and AdminMode its permissions (0 for the usual).
	Admin     netip.AddrPort
	AdminPath string
	AdminMode uint32
	// Static are the static resources, in the order in which they must be made:
	// secrets, clusters, listeners.
	Static []xds.Update
	// Discovery is where the other resources come from.
	Discovery Discovery
	Overload  Overload
	// Ignored are fields that were given and make no difference here.
	Ignored []string
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
		return nil, withLine("bootstrap", name, err)
	}
	b := &Bootstrap{Raw: raw, Node: raw.GetNode()}
	if b.Admin, err = adminAddress(raw); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	pipe := raw.GetAdmin().GetAddress().GetPipe()
	b.AdminPath, b.AdminMode = pipe.GetPath(), pipe.GetMode()
	nameListeners(raw.GetStaticResources().GetListeners())
	if b.Static, err = static(raw.GetStaticResources()); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	if err := b.discovery(raw); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	if err := b.runtime(raw.GetLayeredRuntime()); err != nil {
		return nil, fmt.Errorf("bootstrap %s: layered_runtime: %w", name, err)
	}
	if err := b.overload(raw); err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", name, err)
	}
	raw.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		switch f.Name() {
		case "node", "static_resources", "dynamic_resources", "admin", "overload_manager", "layered_runtime":
		default:
			b.Ignored = append(b.Ignored, string(f.Name()))
		}
		return true
	})
	return b, nil
}

// nameListeners names those without a name, which Envoy allows in a bootstrap.
func nameListeners(list []*listenerv3.Listener) {
	for i, l := range list {
		if l.GetName() == "" {
			l.Name = "listener_" + strconv.Itoa(i)
		}
	}
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

// Describe returns what the config dump shows as the bootstrap, and the node as
// JSON. A proxy under a control plane has no file: b is nil, and the node stands
// for it.
func Describe(n *corev3.Node, b *bootstrapv3.Bootstrap) (*anypb.Any, []byte, error) {
	if b == nil {
		b = &bootstrapv3.Bootstrap{Node: n}
	}
	dump, err := anypb.New(b)
	if err != nil {
		return nil, nil, fmt.Errorf("bootstrap: %w", err)
	}
	node, err := protojson.Marshal(n)
	if err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	return dump, node, nil
}
