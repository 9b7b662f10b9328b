package api

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/config"
)

// table collects the rows of one kind.
type table struct {
	Table
	namespaces bool
}

// newTable makes a table with the columns that kubectl shows for the kind, and
// where the object came from.
func newTable(kind config.Kind, namespaces bool) *table {
	t := &table{namespaces: namespaces && !kind.ClusterScoped()}
	if t.namespaces {
		t.Columns = append(t.Columns, "NAMESPACE")
	}
	t.Columns = append(t.Columns, "NAME")
	t.Columns = append(t.Columns, columns(kind)...)
	t.Columns = append(t.Columns, "ORIGIN")
	return t
}

func (t *table) add(o *config.Object) {
	var row []string
	if t.namespaces {
		row = append(row, o.Namespace)
	}
	row = append(row, o.Name)
	row = append(row, cells(o)...)
	t.Rows = append(t.Rows, append(row, o.Origin.String()))
}

// columns are those between NAME and ORIGIN; cells has their values.
func columns(kind config.Kind) []string {
	switch kind {
	case config.VirtualService:
		return []string{"GATEWAYS", "HOSTS"}
	case config.DestinationRule:
		return []string{"HOST", "SUBSETS"}
	case config.Gateway:
		return []string{"SELECTOR", "SERVERS"}
	case config.ServiceEntry:
		return []string{"HOSTS", "LOCATION", "RESOLUTION"}
	case config.WorkloadEntry:
		return []string{"ADDRESS", "LABELS", "ACCOUNT"}
	case config.PeerAuthentication:
		return []string{"MODE"}
	case config.AuthorizationPolicy:
		return []string{"ACTION"}
	case config.Service:
		return []string{"TYPE", "PORTS"}
	}
	return nil
}

func cells(o *config.Object) []string {
	switch s := o.Spec.(type) {
	case *networking.VirtualService:
		return []string{list(s.Gateways), list(s.Hosts)}
	case *networking.DestinationRule:
		var subsets []string
		for _, x := range s.Subsets {
			subsets = append(subsets, x.Name)
		}
		return []string{s.Host, list(subsets)}
	case *networking.Gateway:
		var servers []string
		for _, x := range s.Servers {
			servers = append(servers, fmt.Sprintf("%d/%s", x.GetPort().GetNumber(), x.GetPort().GetProtocol()))
		}
		return []string{labels(s.Selector), list(servers)}
	case *networking.ServiceEntry:
		return []string{list(s.Hosts), s.Location.String(), s.Resolution.String()}
	case *networking.WorkloadEntry:
		return []string{s.Address, labels(s.Labels), s.ServiceAccount}
	case *security.PeerAuthentication:
		return []string{s.GetMtls().GetMode().String()}
	case *security.AuthorizationPolicy:
		return []string{s.Action.String()}
	case *config.ServiceSpec:
		kind := s.Type
		if kind == "" {
			kind = "ClusterIP"
		}
		var ports []string
		for _, p := range s.Ports {
			transport := p.Protocol
			if transport == "" {
				transport = "TCP"
			}
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, transport))
		}
		return []string{kind, list(ports)}
	}
	return nil
}

func list(values []string) string { return strings.Join(values, ",") }

// labels puts labels as "a=b,c=d", sorted.
func labels(m map[string]string) string {
	s := fmt.Sprint(m) // fmt sorts maps by key
	s = strings.TrimSuffix(strings.TrimPrefix(s, "map["), "]")
	return strings.ReplaceAll(strings.ReplaceAll(s, ":", "="), " ", ",")
}
