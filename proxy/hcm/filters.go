package hcm

import (
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/filter/cors"
	"lateen.dev/lateen/proxy/filter/fault"
	"lateen.dev/lateen/proxy/filter/grpcweb"
	"lateen.dev/lateen/proxy/filter/rbac"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// runFilters lets the manager's filters decide in their order. It reports false when one has answered the request.
func (s *stream) runFilters() bool {
	order := s.m.filter.order
	if s.req.Upgrade || s.req.Method == http1.MethodConnect {
		order = s.upgradeSteps()
	}
	for i := range order {
		st := &order[i]
		disabled := st.disabled
		var config plan.HTTPFilterConfig
		if len(s.decision.Overrides) > 0 {
			if o := s.decision.Overrides.Find(st.name); o != nil {
				disabled, config = o.Disabled, o.Config
			}
		}
		if disabled {
			continue
		}
		if st.found != nil {
			now, ok := st.under(s.plan)
			if !ok {
				s.reply(reply{status: 500, flags: telemetry.FlagNoFilterConfigFound, details: "filter_config_not_found{" + st.name + "}"})
				return false
			}
			st = &now
		}
		if !s.runFilter(st, config) {
			return false
		}
	}
	return true
}

// upgradeSteps are those of the request's upgrade, or CONNECT, if the manager has filters of their own for it. What isn't
// about deciding (statistics, the choice of ALPN) stays as the manager has it.
func (s *stream) upgradeSteps() []step {
	protocol := textConnect
	if s.req.Upgrade {
		protocol = s.req.Get(header.Upgrade)
	}
	for i := range s.m.cfg.Upgrades {
		if u := &s.m.cfg.Upgrades[i]; u.Filters != nil && header.EqualFold(protocol, u.Type) {
			return s.m.upgrades[i]
		}
	}
	return s.m.filter.order
}

// runFilter runs one filter; config is the route's own for it, or nil.
func (s *stream) runFilter(st *step, config plan.HTTPFilterConfig) bool {
	switch {
	case st.rbac != nil:
		rules := st.rbac
		if o, ok := config.(*plan.RBAC); ok {
			rules = o
		}
		return s.rbac(rules)
	case st.fault != nil:
		f := st.fault
		if o, ok := config.(*plan.Fault); ok {
			f = o
		}
		return s.fault(f)
	case st.cors != nil:
		if policy, ok := config.(*plan.CORS); ok {
			return s.cors(policy)
		}
	case st.grpcWeb:
		s.bridgeGRPCWeb()
	}
	return true
}

// bridgeGRPCWeb makes a gRPC-Web request a gRPC one from here on.
func (s *stream) bridgeGRPCWeb() {
	if kind := grpcweb.KindOf(s.req.Get(header.ContentType)); kind != grpcweb.No {
		s.down = grpcweb.New(s.down, s.req, kind)
		s.grpc = true
	}
}

// delays tells whether a fault filter may delay the request.
func (s *stream) delays(st *step) bool {
	f := st.fault
	if o := s.decision.Overrides.Find(st.name); o != nil {
		if c, ok := o.Config.(*plan.Fault); ok {
			f = c
		}
	}
	return f.Delay != nil
}

func (s *stream) rbac(r *plan.RBAC) bool {
	f := rbac.Facts{
		Head: &s.head, Destination: s.c.acc.Destination, Direct: s.c.direct.Addr(), Source: s.c.remote.Addr(),
		Remote: s.rec.DownstreamRemote.Addr(), Authenticated: s.c.mutual, Names: s.c.names,
	}
	f.ServerName = s.c.serverName
	if r.Shadow != nil {
		if rbac.Decide(r.Shadow, &f).Allowed {
			s.stat.shadowAllowed.Add(1)
		} else {
			s.stat.shadowDenied.Add(1)
		}
	}
	if r.Rules == nil {
		return true
	}
	v := rbac.Decide(r.Rules, &f)
	if v.Allowed {
		s.stat.rbacAllowed.Add(1)
		return true
	}
	s.stat.rbacDenied.Add(1)
	policy := v.Policy
	if policy == "" {
		policy = "none"
	}
	s.reply(reply{
		status: 403, flags: telemetry.FlagUnauthorizedExternalService, body: "RBAC: access denied",
		details: "rbac_access_denied_matched_policy[" + policy + "]",
	})
	return false
}

func (s *stream) fault(f *plan.Fault) bool {
	if f.Delay == nil && f.Abort == nil {
		return true
	}
	q := fault.Request{Head: &s.head, Random: [2]uint64{rand.Uint64(), rand.Uint64()}, Active: uint32(s.stat.faultsActive.Load())}
	if t := s.decision.Target; t != nil {
		q.Cluster = t.Name
	}
	v := fault.Decide(f, &q)
	if v == (fault.Verdict{}) {
		return true
	}
	s.stat.faultsActive.Add(1)
	defer s.stat.faultsActive.Add(-1)
	if v.Delay > 0 {
		s.stat.delaysInjected.Add(1)
		s.rec.Flags |= telemetry.FlagDelayInjected
		if !s.wait(v.Delay) {
			return false
		}
	}
	if !v.Abort {
		return true
	}
	s.stat.abortsInjected.Add(1)
	r := reply{status: int(v.HTTPStatus), flags: telemetry.FlagFaultInjected, details: "fault_filter_abort", body: "fault filter abort"}
	if v.IsGRPC {
		r.grpcStatus = int(v.GRPCStatus)
		s.grpc = true
	}
	s.reply(r)
	return false
}

// wait waits, unless the client goes meanwhile.
func (s *stream) wait(d time.Duration) bool {
	const look = time.Second
	for d > 0 {
		step := min(d, look)
		time.Sleep(step)
		d -= step
		if s.gone.Load() || s.client != nil && s.client.Gone() {
			s.gone.Store(true)
			return false
		}
	}
	return true
}

func (s *stream) cors(policy *plan.CORS) bool {
	v := cors.Decide(policy, &s.head, rand.Uint64())
	s.corsRule, s.corsOK = policy, v.Allowed
	if !v.Preflight {
		return true
	}
	s.reply(reply{status: 200, details: "cors_response", preflight: true, allow: v.Allowed})
	return false
}
