package fault

import (
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

type head map[string]string

func (h head) Method() []byte    { return []byte("GET") }
func (h head) Scheme() []byte    { return []byte("http") }
func (h head) Authority() []byte { return []byte("ratings:9080") }
func (h head) Path() []byte      { return []byte("/") }
func (h head) Header(n header.Name) ([]byte, bool) {
	v, ok := h[n.String()]
	return []byte(v), ok
}

func TestDecide(t *testing.T) {
	all, none, half := plan.Fraction{Numerator: 100, Denominator: 100}, plan.Fraction{Denominator: 100}, plan.Fraction{Numerator: 50, Denominator: 100}
	delay := &plan.Fault{Delay: &plan.FaultDelay{Fixed: 7 * time.Second, Fraction: all}}
	for name, c := range map[string]struct {
		fault   *plan.Fault
		request Request
		want    Verdict
	}{
		"no fault":       {nil, Request{}, Verdict{}},
		"delay":          {delay, Request{}, Verdict{Delay: 7 * time.Second}},
		"delay of none":  {&plan.Fault{Delay: &plan.FaultDelay{Fixed: time.Second, Fraction: none}}, Request{}, Verdict{}},
		"half, hit":      {&plan.Fault{Delay: &plan.FaultDelay{Fixed: 1, Fraction: half}}, Request{Random: [2]uint64{149}}, Verdict{Delay: 1}},
		"half, missed":   {&plan.Fault{Delay: &plan.FaultDelay{Fixed: 1, Fraction: half}}, Request{Random: [2]uint64{150}}, Verdict{}},
		"abort":          {&plan.Fault{Abort: &plan.FaultAbort{HTTPStatus: 500, Fraction: all}}, Request{}, Verdict{Abort: true, HTTPStatus: 500}},
		"gRPC abort":     {&plan.Fault{Abort: &plan.FaultAbort{GRPCStatus: 14, IsGRPC: true, Fraction: all}}, Request{}, Verdict{Abort: true, IsGRPC: true, GRPCStatus: 14}},
		"both":           {&plan.Fault{Delay: delay.Delay, Abort: &plan.FaultAbort{HTTPStatus: 503, Fraction: all}}, Request{}, Verdict{Delay: 7 * time.Second, Abort: true, HTTPStatus: 503}},
		"other cluster":  {&plan.Fault{UpstreamCluster: "a", Delay: delay.Delay}, Request{Cluster: "b"}, Verdict{}},
		"too many":       {&plan.Fault{MaxActive: 3, Delay: delay.Delay}, Request{Active: 3}, Verdict{}},
		"other node":     {&plan.Fault{DownstreamNodes: []string{"x"}, Delay: delay.Delay}, Request{}, Verdict{}},
		"the node":       {&plan.Fault{DownstreamNodes: []string{"x"}, Delay: delay.Delay}, Request{Head: head{"x-envoy-downstream-service-node": "x"}}, Verdict{Delay: 7 * time.Second}},
		"by header":      {&plan.Fault{Delay: &plan.FaultDelay{HeaderControlled: true, Fraction: all}}, Request{Head: head{"x-envoy-fault-delay-request": "20"}}, Verdict{Delay: 20 * time.Millisecond}},
		"header absent":  {&plan.Fault{Delay: &plan.FaultDelay{HeaderControlled: true, Fraction: all}}, Request{}, Verdict{}},
		"header lowers":  {&plan.Fault{Delay: &plan.FaultDelay{HeaderControlled: true, Fraction: all}}, Request{Head: head{"x-envoy-fault-delay-request": "20", "x-envoy-fault-delay-request-percentage": "0"}}, Verdict{}},
		"abort, header":  {&plan.Fault{Abort: &plan.FaultAbort{HeaderControlled: true, Fraction: all}}, Request{Head: head{"x-envoy-fault-abort-request": "404"}}, Verdict{Abort: true, HTTPStatus: 404}},
		"no such status": {&plan.Fault{Abort: &plan.FaultAbort{HeaderControlled: true, Fraction: all}}, Request{Head: head{"x-envoy-fault-abort-request": "7"}}, Verdict{}},
		"no number":      {&plan.Fault{Abort: &plan.FaultAbort{HeaderControlled: true, Fraction: all}}, Request{Head: head{"x-envoy-fault-abort-request": "-"}}, Verdict{}},
	} {
		if c.request.Head == nil {
			c.request.Head = head{}
		}
		if got := Decide(c.fault, &c.request); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
