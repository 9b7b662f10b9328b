package app

import (
	"bytes"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// partOf reports whether an object may have a part in a resource that a proxy
// refused. Translation writes down in what it makes which VirtualService,
// DestinationRule or AuthorizationPolicy it was made from, and host names stand in
// everything that is made for a host. Where neither tells, the object may have a
// part. r is nil if the version that was refused is not there any more.
func partOf(o *config.Object, r *xds.Resource, refused *server.Refused) bool {
	if r == nil || r.Version != refused.Version || r.Body() == nil {
		return true
	}
	body := r.Body().GetValue()
	switch spec := o.Spec.(type) {
	case *networking.VirtualService:
		return mentions(body, o.Key.String()) || mentions(body, "/namespaces/"+o.Namespace+"/virtual-service/"+o.Name)
	case *security.AuthorizationPolicy:
		return bytes.Contains(body, []byte("ns["+o.Namespace+"]-policy["+o.Name+"]-rule["))
	case *networking.DestinationRule:
		if r.TypeURL == xds.ClusterType {
			return mentions(body, o.Key.String())
		}
		return ofHost(r, body, o.Namespace, spec.GetHost())
	case *networking.ServiceEntry:
		return slices.ContainsFunc(spec.GetHosts(), func(host string) bool { return ofHost(r, body, o.Namespace, host) })
	}
	return true
}

// mentions reports whether a name stands in a message, and not as the beginning of
// a longer one.
func mentions(body []byte, name string) bool {
	for at := []byte(name); ; {
		i := bytes.Index(body, at)
		if i < 0 {
			return false
		}
		body = body[i+len(at):]
		if len(body) == 0 || !isNameByte(body[0]) {
			return true
		}
	}
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.'
}

// ofHost reports whether a host, as a rule in the namespace names it, stands in a
// resource or its name.
func ofHost(r *xds.Resource, body []byte, namespace, host string) bool {
	host = strings.TrimPrefix(host, "*")
	if host != "" && !strings.Contains(host, ".") {
		host += "." + namespace
	}
	return strings.Contains(r.Name, host) || bytes.Contains(body, []byte(host))
}
