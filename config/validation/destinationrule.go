package validation

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) destinationRule(dr *networking.DestinationRule) {
	spec := field("spec")
	c.wildcardHost(spec.to("host"), dr.Host)
	c.exportTo(spec.to("exportTo"), dr.ExportTo)
	c.trafficPolicy(spec.to("trafficPolicy"), dr.TrafficPolicy)
	if dr.WorkloadSelector != nil {
		c.selector(spec.to("workloadSelector").to("matchLabels"), dr.WorkloadSelector.MatchLabels)
	}
	unique(c, spec.to("subsets"), "subset", dr.Subsets, (*networking.Subset).GetName)
	for i, s := range dr.Subsets {
		at := spec.to("subsets").at(i)
		switch {
		case s.Name == "":
			c.fault(at.to("name"), "Name the subset", "the subset has no name")
		case !isLabel(s.Name):
			c.fault(at.to("name"), "Lower-case letters, digits and '-'", "%q is no subset name", s.Name)
		}
		c.labels(at.to("labels"), s.Labels)
		c.trafficPolicy(at.to("trafficPolicy"), s.TrafficPolicy)
	}
}

func (c *checker) trafficPolicy(at path, p *networking.TrafficPolicy) {
	if p == nil {
		return
	}
	if p.OutlierDetection == nil && p.ConnectionPool == nil && p.LoadBalancer == nil && p.Tls == nil && len(p.PortLevelSettings) == 0 &&
		p.Tunnel == nil && p.ProxyProtocol == nil && p.RetryBudget == nil {
		c.fault(at, "Say something, or remove it", "the traffic policy is empty")
	}
	c.outlier(at.to("outlierDetection"), p.OutlierDetection)
	c.connectionPool(at.to("connectionPool"), p.ConnectionPool)
	c.loadBalancer(at.to("loadBalancer"), p.LoadBalancer, p.OutlierDetection)
	c.clientTLS(at.to("tls"), p.Tls)
	c.tunnel(at.to("tunnel"), p.Tunnel)
	if p.Tunnel != nil && p.ProxyProtocol != nil {
		c.fault(at.to("proxyProtocol"), "Keep one", "tunnel and proxyProtocol exclude each other")
	}
	if b := p.RetryBudget; b != nil && b.Percent != nil {
		c.percent(at.to("retryBudget").to("percent"), &networking.Percent{Value: b.Percent.Value})
	}
	c.portPolicies(at.to("portLevelSettings"), p.PortLevelSettings)
}

func (c *checker) portPolicies(at path, policies []*networking.TrafficPolicy_PortTrafficPolicy) {
	seen := map[uint32]bool{}
	for i, p := range policies {
		at := at.at(i)
		if p.Port == nil {
			c.fault(at.to("port"), "Add port with a number", "the policy says nothing about which port it is for")
			continue
		}
		c.port(at.to("port").to("number"), p.Port.Number)
		if seen[p.Port.Number] {
			c.warn(at.to("port"), "Merge the two", "port %d has two policies", p.Port.Number)
		}
		seen[p.Port.Number] = true
		if p.OutlierDetection == nil && p.ConnectionPool == nil && p.LoadBalancer == nil && p.Tls == nil {
			c.fault(at, "Say something, or remove it", "the policy of port %d is empty", p.Port.Number)
		}
		c.outlier(at.to("outlierDetection"), p.OutlierDetection)
		c.connectionPool(at.to("connectionPool"), p.ConnectionPool)
		c.loadBalancer(at.to("loadBalancer"), p.LoadBalancer, p.OutlierDetection)
		c.clientTLS(at.to("tls"), p.Tls)
	}
}

func (c *checker) outlier(at path, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	c.duration(at.to("interval"), o.Interval)
	c.duration(at.to("baseEjectionTime"), o.BaseEjectionTime)
	c.percentNumber(at.to("maxEjectionPercent"), o.MaxEjectionPercent)
	c.percentNumber(at.to("minHealthPercent"), o.MinHealthPercent)
	if o.ConsecutiveErrors != 0 { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("consecutiveErrors"), "consecutive5xxErrors or consecutiveGatewayErrors")
	}
	if !o.SplitExternalLocalOriginErrors && o.ConsecutiveLocalOriginFailures.GetValue() > 0 {
		c.fault(at.to("consecutiveLocalOriginFailures"), "Set splitExternalLocalOriginErrors: true", "it has no effect while splitExternalLocalOriginErrors is off")
	}
}

func (c *checker) connectionPool(at path, p *networking.ConnectionPoolSettings) {
	if p == nil {
		return
	}
	if p.Http == nil && p.Tcp == nil {
		c.fault(at, "Add tcp or http", "the connection pool is empty")
	}
	if h := p.Http; h != nil {
		at := at.to("http")
		for name, n := range map[string]int32{
			"http1MaxPendingRequests": h.Http1MaxPendingRequests, "http2MaxRequests": h.Http2MaxRequests,
			"maxRequestsPerConnection": h.MaxRequestsPerConnection, "maxRetries": h.MaxRetries, "maxConcurrentStreams": h.MaxConcurrentStreams,
		} {
			c.count(at.to(name), n)
		}
		c.notNegative(at.to("idleTimeout"), h.IdleTimeout)
		if h.UseClientProtocol && h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE {
			c.fault(at.to("useClientProtocol"), "Keep one", "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other")
		}
		if k := h.Http2KeepAlive; k != nil {
			c.duration(at.to("http2KeepAlive").to("interval"), k.Interval)
			c.duration(at.to("http2KeepAlive").to("timeout"), k.Timeout)
		}
	}
	if t := p.Tcp; t != nil {
		at := at.to("tcp")
		c.count(at.to("maxConnections"), t.MaxConnections)
		c.duration(at.to("connectTimeout"), t.ConnectTimeout)
		c.duration(at.to("maxConnectionDuration"), t.MaxConnectionDuration)
		c.notNegative(at.to("idleTimeout"), t.IdleTimeout)
		if k := t.TcpKeepalive; k != nil {
			c.notNegative(at.to("tcpKeepalive").to("time"), k.Time)
			c.notNegative(at.to("tcpKeepalive").to("interval"), k.Interval)
		}
	}
}

func (c *checker) loadBalancer(at path, lb *networking.LoadBalancerSettings, outlier *networking.OutlierDetection) {
	if lb == nil {
		return
	}
	if lb.GetSimple() == networking.LoadBalancerSettings_LEAST_CONN { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("simple"), "LEAST_REQUEST")
	}
	if h := lb.GetConsistentHash(); h != nil {
		c.consistentHash(at.to("consistentHash"), h)
	}
	if w := lb.Warmup; w != nil {
		c.duration(at.to("warmup").to("duration"), w.Duration)
		if p := w.MinimumPercent; p != nil && p.Value > 100 {
			c.fault(at.to("warmup").to("minimumPercent"), "Percentages are 0 to 100", "%v is no percentage", p.Value)
		}
	}
	if lb.WarmupDurationSecs != nil { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("warmupDurationSecs"), "warmup.duration")
	}
	c.localityLB(at.to("localityLbSetting"), lb.LocalityLbSetting, outlier != nil)
}

func (c *checker) consistentHash(at path, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	switch k := h.HashKey.(type) {
	case nil:
		c.fault(at, "Add httpHeaderName, httpCookie, httpQueryParameterName or useSourceIp", "nothing is said about what to hash")
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		c.headerName(at.to("httpHeaderName"), k.HttpHeaderName)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if k.HttpCookie.GetName() == "" {
			c.fault(at.to("httpCookie").to("name"), "Name the cookie", "the cookie has no name")
		}
		c.notNegative(at.to("httpCookie").to("ttl"), k.HttpCookie.GetTtl())
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if k.HttpQueryParameterName == "" {
			c.fault(at.to("httpQueryParameterName"), "Name the parameter", "the query parameter's name is empty")
		}
	}
	if h.MinimumRingSize != 0 { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("minimumRingSize"), "ringHash.minimumRingSize")
	}
	if m := h.GetMaglev(); m != nil && m.TableSize != 0 && !prime(m.TableSize) {
		c.fault(at.to("maglev").to("tableSize"), "65537 is one", "%d is no prime number", m.TableSize)
	}
}

func prime(n uint64) bool {
	if n < 2 || n > 5_000_011 {
		return false
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func (c *checker) localityLB(at path, l *networking.LocalityLoadBalancerSetting, hasOutlier bool) {
	if l == nil {
		return
	}
	var ways []string
	for name, n := range map[string]int{"distribute": len(l.Distribute), "failover": len(l.Failover)} {
		if n > 0 {
			ways = append(ways, name)
		}
	}
	if len(ways) > 1 || len(l.Distribute) > 0 && len(l.FailoverPriority) > 0 {
		c.fault(at, "Keep one", "distribute excludes failover and failoverPriority")
	}
	for i, d := range l.Distribute {
		at := at.to("distribute").at(i)
		total := uint64(0)
		c.locality(at.to("from"), d.From)
		for to, weight := range d.To {
			c.locality(at.to("to").key(to), to)
			if weight == 0 {
				c.fault(at.to("to").key(to), "Give a weight, or remove it", "the weight is 0")
			}
			total += uint64(weight)
		}
		if total != 100 {
			c.fault(at.to("to"), "Make them 100", "the weights add up to %d", total)
		}
	}
	for i, f := range l.Failover {
		at := at.to("failover").at(i)
		switch {
		case f.From == f.To:
			c.fault(at, "Name two regions", "failover from %q to itself", f.From)
		case strings.ContainsAny(f.From+f.To, "/*"):
			c.fault(at, "Name regions only", "failover is between regions, without zones and wildcards")
		}
	}
	if len(l.Failover)+len(l.FailoverPriority) > 0 && !hasOutlier {
		c.warn(at, "Add outlierDetection", "without outlierDetection, nothing triggers a failover")
	}
}

// locality: REGION, REGION/ZONE or REGION/ZONE/SUBZONE, "*" at the end only.
func (c *checker) locality(at path, s string) {
	parts := strings.Split(s, "/")
	if len(parts) > 3 || s == "" {
		c.fault(at, "Write REGION/ZONE/SUBZONE", "%q is no locality", s)
		return
	}
	for i, p := range parts {
		if p == "" || strings.Contains(p, "*") && (p != "*" || i < len(parts)-1) {
			c.fault(at, "Write REGION/ZONE/SUBZONE; a wildcard only at the end", "%q is no locality", s)
			return
		}
	}
}

func (c *checker) clientTLS(at path, t *networking.ClientTLSSettings) {
	if t == nil {
		return
	}
	files := t.ClientCertificate != "" || t.PrivateKey != "" || t.CaCertificates != ""
	switch t.Mode {
	case networking.ClientTLSSettings_MUTUAL:
		if t.CredentialName == "" {
			if t.ClientCertificate == "" {
				c.fault(at.to("clientCertificate"), "Name a file, or use credentialName", "mode MUTUAL needs a client certificate")
			}
			if t.PrivateKey == "" {
				c.fault(at.to("privateKey"), "Name a file, or use credentialName", "mode MUTUAL needs a private key")
			}
		}
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		if files || t.CredentialName != "" {
			c.fault(at, "Remove the certificates, or use mode MUTUAL", "mode ISTIO_MUTUAL uses the mesh's own certificates")
		}
	}
	if t.CredentialName != "" && files {
		c.fault(at.to("credentialName"), "Keep one", "credentialName and files exclude each other")
	}
	if t.InsecureSkipVerify.GetValue() && (t.CaCertificates != "" || len(t.SubjectAltNames) > 0) {
		c.fault(at.to("insecureSkipVerify"), "Remove it, or caCertificates and subjectAltNames", "verification is skipped, yet something to verify is given")
	}
	if t.Sni != "" && !isHost(t.Sni) {
		c.fault(at.to("sni"), "", "%q is no host name", t.Sni)
	}
	for i, san := range t.SubjectAltNames {
		if san == "" {
			c.fault(at.to("subjectAltNames").at(i), "Remove it", "the name is empty")
		}
	}
}

func (c *checker) tunnel(at path, t *networking.TrafficPolicy_TunnelSettings) {
	if t == nil {
		return
	}
	if t.Protocol != "" && t.Protocol != "CONNECT" && t.Protocol != "POST" {
		c.fault(at.to("protocol"), "Write CONNECT or POST", "%q is no way to tunnel", t.Protocol)
	}
	c.host(at.to("targetHost"), t.TargetHost)
	c.port(at.to("targetPort"), t.TargetPort)
}
