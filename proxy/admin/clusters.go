package admin

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"lateen.dev/lateen/proxy/plan"
)

func (s *server) clusters(w http.ResponseWriter, r *http.Request) {
	static := map[string]bool{}
	for _, res := range s.Store.Resources(plan.KindCluster) {
		static[res.Name] = res.Static
	}
	list := s.Current.Load().Clusters()
	if r.URL.Query().Get("format") == "json" {
		out := make([]object, 0, len(list))
		for _, c := range list {
			out = append(out, s.clusterJSON(c, static[c.Name]))
		}
		writeJSON(w, object{"cluster_statuses": out})
		return
	}
	var b bytes.Buffer
	for _, c := range list {
		s.clusterText(&b, c, static[c.Name])
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = w.Write(b.Bytes()) // the client is gone if this fails
}

// hosts are a cluster's hosts in force, or else its endpoints.
func (s *server) hosts(c *plan.Cluster) []Host {
	if s.Hosts != nil {
		return s.Hosts(c.Name)
	}
	var out []Host
	if c.Endpoints == nil {
		return nil
	}
	for p := range c.Endpoints.Priorities {
		for _, l := range c.Endpoints.Priorities[p].Localities {
			for i := range l.Endpoints {
				e := &l.Endpoints[i]
				out = append(out, Host{
					Address: e.Address.String(), Hostname: e.Hostname, Weight: e.Weight, Priority: p, Locality: l.Locality, Health: e.Health,
				})
			}
		}
	}
	return out
}

// priorityNames are the routing priorities of circuit breakers.
func priorityNames() [2]string { return [2]string{"default", "high"} }

func (s *server) clusterText(w io.Writer, c *plan.Cluster, static bool) {
	line := func(format string, args ...any) { fmt.Fprintf(w, "%s::%s\n", c.Name, fmt.Sprintf(format, args...)) }
	name := c.AltStatName
	if name == "" {
		name = c.Name
	}
	line("observability_name::%s", name)
	for i, p := range priorityNames() {
		l := c.Limits[i]
		line("%s_priority::max_connections::%d", p, l.MaxConnections)
		line("%s_priority::max_pending_requests::%d", p, l.MaxPendingRequests)
		line("%s_priority::max_requests::%d", p, l.MaxRequests)
		line("%s_priority::max_retries::%d", p, l.MaxRetries)
	}
	line("added_via_api::%t", !static)
	if c.Discovery == plan.EDS {
		line("eds_service_name::%s", c.EDSName)
	}
	for _, h := range s.hosts(c) {
		for _, st := range h.Stats {
			line("%s::%s::%d", h.Address, st.Name, st.Value)
		}
		line("%s::hostname::%s", h.Address, h.Hostname)
		line("%s::health_flags::%s", h.Address, healthFlags(&h))
		line("%s::weight::%d", h.Address, h.Weight)
		line("%s::region::%s", h.Address, h.Locality.Region)
		line("%s::zone::%s", h.Address, h.Locality.Zone)
		line("%s::sub_zone::%s", h.Address, h.Locality.SubZone)
		line("%s::canary::false", h.Address)
		line("%s::priority::%d", h.Address, h.Priority)
		line("%s::success_rate::-1", h.Address)
		line("%s::local_origin_success_rate::-1", h.Address)
	}
}

func healthFlags(h *Host) string {
	s := ""
	if h.FailedCheck {
		s += "/failed_active_hc"
	}
	if h.Ejected {
		s += "/failed_outlier_check"
	}
	switch h.Health {
	case plan.Unhealthy, plan.HealthTimeout:
		s += "/failed_eds_health"
	case plan.Draining:
		s += "/eds_status_draining"
	case plan.Degraded:
		s += "/degraded_eds_health"
	}
	if s == "" {
		return "healthy"
	}
	return s
}

func (s *server) clusterJSON(c *plan.Cluster, static bool) object {
	name := c.AltStatName
	if name == "" {
		name = c.Name
	}
	o := object{"name": c.Name, "observability_name": name, "circuit_breakers": object{"thresholds": thresholds(c)}}
	if !static {
		o["added_via_api"] = true
	}
	if c.Discovery == plan.EDS {
		o["eds_service_name"] = c.EDSName
	}
	var hosts []object
	for _, h := range s.hosts(c) {
		hosts = append(hosts, hostJSON(&h))
	}
	if hosts != nil {
		o["host_statuses"] = hosts
	}
	return o
}

func thresholds(c *plan.Cluster) []object {
	var out []object
	for i, name := range []string{"DEFAULT", "HIGH"} {
		l := c.Limits[i]
		out = append(out, object{
			"priority": name, "max_connections": l.MaxConnections, "max_pending_requests": l.MaxPendingRequests,
			"max_requests": l.MaxRequests, "max_retries": l.MaxRetries,
		})
	}
	return out
}

func hostJSON(h *Host) object {
	status := object{"eds_health_status": edsHealth(h.Health)}
	if h.Ejected {
		status["failed_outlier_check"] = true
	}
	if h.FailedCheck {
		status["failed_active_health_check"] = true
	}
	o := object{"address": addressJSON(h.Address), "health_status": status, "weight": h.Weight}
	var stats []object
	for _, st := range h.Stats {
		v := object{"name": st.Name}
		if st.Value != 0 {
			v["value"] = strconv.FormatInt(st.Value, 10) // 64-bit numbers are strings in proto's JSON
		}
		if st.Gauge {
			v["type"] = "GAUGE"
		}
		stats = append(stats, v)
	}
	if stats != nil {
		o["stats"] = stats
	}
	if h.Hostname != "" {
		o["hostname"] = h.Hostname
	}
	if h.Priority > 0 {
		o["priority"] = h.Priority
	}
	o["locality"] = localityJSON(h.Locality)
	return o
}

// edsHealth is what Envoy shows: hosts of which nothing was said count as healthy.
func edsHealth(h plan.HealthStatus) string {
	if h == plan.HealthUnknown {
		return plan.Healthy.String()
	}
	return h.String()
}

func localityJSON(l plan.Locality) object {
	o := object{}
	for k, v := range map[string]string{"region": l.Region, "zone": l.Zone, "sub_zone": l.SubZone} {
		if v != "" {
			o[k] = v
		}
	}
	return o
}

// addressJSON renders ip:port or a path as an Address.
func addressJSON(a string) object {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return object{"pipe": object{"path": a}}
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return object{"pipe": object{"path": a}}
	}
	return object{"socket_address": object{"address": host, "port_value": n}}
}

func (s *server) listeners(w http.ResponseWriter, r *http.Request) {
	type row struct {
		name  string
		addrs []string
	}
	var rows []row
	for _, l := range s.Current.Load().Listeners {
		rw := row{name: l.Name}
		if s.Bound != nil {
			rw.addrs = s.Bound(l.Name)
		}
		if len(rw.addrs) == 0 {
			for _, a := range l.Addresses {
				rw.addrs = append(rw.addrs, a.String())
			}
		}
		rows = append(rows, rw)
	}
	if r.URL.Query().Get("format") == "json" {
		out := []object{}
		for _, rw := range rows {
			o := object{"name": rw.name, "local_address": addressJSON(rw.addrs[0])}
			var more []object
			for _, a := range rw.addrs[1:] {
				more = append(more, addressJSON(a))
			}
			if more != nil {
				o["additional_local_addresses"] = more
			}
			out = append(out, o)
		}
		writeJSON(w, object{"listener_statuses": out})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	for _, rw := range rows {
		for _, a := range rw.addrs {
			fmt.Fprintf(w, "%s::%s\n", rw.name, a)
		}
	}
}
