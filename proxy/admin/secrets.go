package admin

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"slices"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
)

// redacted stands in for what must not be shown: "[redacted]" in base64, as Envoy has it.
const redacted = "W3JlZGFjdGVkXQ=="

// redact replaces key material anywhere below v.
func redact(v any) {
	switch t := v.(type) {
	case object:
		for k := range t {
			switch k {
			case "private_key", "password", "generic_secret", "session_ticket_keys", "pkcs12":
				t[k] = object{"inline_bytes": redacted}
			default:
				redact(t[k])
			}
		}
	case []any:
		for _, e := range t {
			redact(e)
		}
	}
}

func (d *dumper) secrets() section {
	static := list{field: "static_secrets", element: "StaticSecret"}
	active := list{field: "dynamic_active_secrets", element: "DynamicSecret"}
	warming := list{field: "dynamic_warming_secrets", element: "DynamicSecret"}
	p := d.Current.Load()
	for _, r := range d.Store.Resources(plan.KindSecret) {
		if !d.takes(r.Name) {
			continue
		}
		if r.Live == nil {
			warming.items = append(warming.items, withError(object{"name": r.Name}, r.Failure))
			continue
		}
		o := versioned("secret", r.Live, !r.Static)
		o["name"] = r.Name
		if r.Live.Body == nil {
			o["secret"] = localSecret(p.SecretNamed(r.Name))
		}
		if r.Static {
			static.items = append(static.items, o)
		} else {
			active.items = append(active.items, withError(o, r.Failure))
		}
	}
	return section{kind: "SecretsConfigDump", lists: []list{static, active, warming}}
}

// localSecret renders a secret that never was a message.
func localSecret(s *plan.Secret) object {
	if s == nil {
		return object{}
	}
	o := object{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": s.Name}
	switch {
	case s.Certificate != nil:
		var chain []byte
		for _, der := range s.Certificate.Certificate {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		o["tls_certificate"] = object{
			"certificate_chain": object{"inline_bytes": base64.StdEncoding.EncodeToString(chain)},
			"private_key":       object{"inline_bytes": redacted},
		}
	case s.Roots != nil:
		var roots []byte
		for _, c := range s.Roots.Certs {
			roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		o["validation_context"] = object{"trusted_ca": object{"inline_bytes": base64.StdEncoding.EncodeToString(roots)}}
	}
	return o
}

func (s *server) certs(w http.ResponseWriter, _ *http.Request) {
	certs := []object{}
	for _, sec := range s.Current.Load().Secrets() {
		var chain, roots []object
		if sec.Certificate != nil {
			for _, der := range sec.Certificate.Certificate {
				if c, err := x509.ParseCertificate(der); err == nil {
					chain = append(chain, s.describe(sec.Name, c))
				}
			}
		}
		if sec.Roots != nil {
			for _, c := range sec.Roots.Certs {
				roots = append(roots, s.describe(sec.Name, c))
			}
		}
		if len(chain)+len(roots) > 0 {
			certs = append(certs, object{"ca_cert": orNone(roots), "cert_chain": orNone(chain)})
		}
	}
	writeJSON(w, object{"certificates": certs})
}

func orNone(l []object) []object {
	if l == nil {
		return []object{}
	}
	return l
}

func (s *server) describe(from string, c *x509.Certificate) object {
	var sans []object
	for _, u := range c.URIs {
		sans = append(sans, object{"uri": u.String()})
	}
	for _, n := range c.DNSNames {
		sans = append(sans, object{"dns": n})
	}
	for _, ip := range c.IPAddresses {
		sans = append(sans, object{"ip_address": ip.String()})
	}
	days := int64(c.NotAfter.Sub(s.Now()) / (24 * time.Hour))
	return object{
		"path": "secret " + from, "serial_number": hex.EncodeToString(c.SerialNumber.Bytes()), "subject_alt_names": slices.Clip(orNone(sans)),
		"days_until_expiration": max(days, 0), "valid_from": stamp(c.NotBefore), "expiration_time": stamp(c.NotAfter),
	}
}

// endpoints renders load assignments: those got by EDS, and those inside static clusters.
func (d *dumper) endpoints() section {
	static := list{field: "static_endpoint_configs", element: "StaticEndpointConfig"}
	dynamic := list{field: "dynamic_endpoint_configs", element: "DynamicEndpointConfig"}
	for _, c := range d.Store.Resources(plan.KindCluster) {
		if c.Live == nil || !d.takes(c.Name) {
			continue
		}
		if la, ok := body(c.Live.Body)["load_assignment"].(object); ok {
			la["@type"] = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
			static.items = append(static.items, object{"endpoint_config": la, "last_updated": stamp(c.Live.Updated)})
		}
	}
	for _, r := range d.Store.Resources(plan.KindEndpoints) {
		if d.takes(r.Name) && r.Live != nil {
			dynamic.items = append(dynamic.items, withError(versioned("endpoint_config", r.Live, true), r.Failure))
		}
	}
	return section{kind: "EndpointsConfigDump", lists: []list{static, dynamic}}
}

var _ Store = (*state.Store)(nil)
