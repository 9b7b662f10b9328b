package translate

import (
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/stencil"
	"lateen.dev/lateen/xds"
)

// answers is everything that is remembered between Snapshots, each kind under its inputs.
type answers struct {
	clusters    memo[clusterKey, *xds.Resource]
	shapes      memo[cluster.Shape, *clusterShape]
	assignments memo[assignmentKey, *xds.Resource]
	facts       memo[*model.EndpointSet, endpointFacts]
	modes       memo[modeKey, model.MTLSMode]
	vhosts      memo[vhostKey, *vhost]
	unrouted    memo[unroutedShape, *stencil.Stencil]
	routed      memo[routedKey, *routedHost]
	runs        assembly[uint64, vhost, run]
	routes      assembly[routesKey, run, xds.Resource]
	heads       memo[headKey, *xds.Resource]
	sent        memo[sentKey, *xds.Resource]
	asked       memo[askedKey, *xds.Resource]
	listeners   memo[listenerKey, *madeListener]
	inbounds    memo[string, *inbound]
	// extensions are the filters of inbound sides and of gateways that come by themselves.
	extensions memo[string, *extensions]
	// inboundShapes is for inbounds that differ in names only.
	inboundShapes memo[string, *inboundShape]
}

func (a *answers) len() int {
	return a.clusters.len() + a.shapes.len() + a.assignments.len() + a.vhosts.len() + a.unrouted.len() + a.routed.len() + a.runs.len() + a.routes.len() +
		a.listeners.len() + a.inbounds.len() + a.inboundShapes.len() + a.extensions.len() + a.heads.len() + a.sent.len() + a.asked.len()
}

// clusterKey is what an outbound cluster is made of.
type clusterKey struct {
	dialect    dialect.Dialect
	gateway    bool
	ipv6       bool
	mesh       *model.Mesh
	service    *model.Service
	port       uint32
	subset     string
	rule       *model.DestinationRule
	identities string
	mtls       bool
	// set and place are given for services that the proxy resolves.
	set   *model.EndpointSet
	place placeKey
}

// assignmentKey is what a load assignment is made of.
type assignmentKey struct {
	service *model.Service
	port    uint32
	subset  string
	rule    *model.DestinationRule
	set     *model.EndpointSet
	mesh    *model.Mesh
	peers   uint64
	place   placeKey
}

// placeKey is where the client is, zero where that makes no difference.
type placeKey struct {
	locality         model.Locality
	labels           string
	network, cluster string
}

type modeKey struct {
	peers     uint64
	namespace string
}
