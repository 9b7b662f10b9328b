package plan

import "time"

// Source is where resources come from that a resource refers to: a file, a discovery service of a cluster's, or, if it is
// the zero value, the aggregated discovery service of whoever configures the proxy. Sources are compared with ==.
type Source struct {
	// Path is a file with a discovery response. Watched is the directory in which a change says that it is to be read
	// again; "" is the file's own.
	Path, Watched string
	// Service is a discovery service for one type of resource.
	Service DiscoveryService
}

// DiscoveryService is one that a cluster serves by gRPC.
type DiscoveryService struct {
	// Cluster is "" for none. Authority is the name that is asked for, "" for the cluster's.
	Cluster, Authority string
	// Delta asks for the incremental protocol.
	Delta bool
	// Metadata are headers that are sent along, as name: value lines.
	Metadata string
	// BackoffMin and BackoffMax bound the time between attempts to reach it; 0 for the usual bounds.
	BackoffMin, BackoffMax time.Duration
}

// Aggregated says that the resources come from whoever configures the proxy.
func (s Source) Aggregated() bool { return s == Source{} }
