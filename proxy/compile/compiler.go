package compile

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/plan"
)

// Compiler turns resources into parts of a plan.
type Compiler struct {
	// Names gives out references.
	Names *plan.Names
	// Hostname is the value of %HOSTNAME% in formats.
	Hostname string
	// NodeID and NodeCluster are this proxy's, for faults that name downstream nodes and for trace names.
	NodeID, NodeCluster string
	// ReadFile reads the files that resources name (certificates, response bodies).
	ReadFile func(path string) ([]byte, error)
	// Getenv reads environment variables that inline secrets name; nil where that isn't allowed.
	Getenv func(name string) (string, bool)
	// Demand is what listeners and route configurations get that have more to ask for; nil where nobody can be asked.
	Demand *plan.Demand

	shared shared
}

// Needs are the resources that a compiled resource refers to and that may come by discovery.
type Needs struct {
	RouteConfigs []Need
	Endpoints    []Need
	Secrets      []Need
	// VirtualHosts names the route configuration whose virtual hosts come one by one.
	VirtualHosts []Need
	// Extensions are filters' configurations.
	Extensions []Need
	Clusters   []string
}

// Need is one name, and how long to wait for it before going live without it.
type Need struct {
	Name string
	// Timeout is Envoy's initial_fetch_timeout: 0 waits without end, 15 s by default.
	Timeout time.Duration
	// From is where it comes from.
	From plan.Source
	// Static says that the resource never comes by discovery: it is there already, or the reference is a mistake.
	Static bool
	// Types are the messages that a filter's configuration may be of, with commas between.
	Types string
	// Default says that there is a configuration which applies until this one has come, so that nobody waits.
	Default bool
}

// defaultFetchTimeout is Envoy's default of initial_fetch_timeout.
const defaultFetchTimeout = 15 * time.Second

func (n *Needs) cluster(name string) {
	if name == "" {
		return
	}
	for _, c := range n.Clusters {
		if c == name {
			return
		}
	}
	n.Clusters = append(n.Clusters, name)
}

func add(list []Need, n Need) []Need {
	for _, o := range list {
		if o.Name == n.Name {
			return list
		}
	}
	return append(list, n)
}

// hashOf is the content hash of a resource.
func hashOf(m proto.Message) plan.Hash {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// A message that can't be marshalled (invalid UTF-8 built by hand) has no stable content: never equal.
		return plan.Hash(maphash.Comparable(maphash.MakeSeed(), err.Error()))
	}
	return plan.Hash(xxhash.Sum64(b))
}

// at adds the place to an error.
func at(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
