package machine

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

// many clients that are up to date see one endpoint set of many change.
func BenchmarkEndpointChange(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			sets := map[string]*xds.Set{}
			var names []string
			for _, url := range []string{xds.ClusterType, xds.EndpointType} {
				var list []*xds.Resource
				for i := range services {
					name := fmt.Sprintf("outbound|80||service-%05d.default.svc.cluster.local", i)
					list = append(list, xds.Received(name, url, "1", &anypb.Any{Value: make([]byte, 100)}))
					if url == xds.EndpointType {
						names = append(names, name)
					}
				}
				sets[url] = xds.NewSet(url, list)
			}
			state := xds.NewState(1, time.Time{}, sets[xds.ClusterType], sets[xds.EndpointType])
			var clients []*Machine
			for range 100 {
				m := New(true, Limits{Names: 20_000, Types: 10, FrameBytes: 1 << 30}, state)
				ask(b, m, &Request{TypeURL: xds.ClusterType})
				ask(b, m, &Request{TypeURL: xds.EndpointType, Subscribe: names})
				clients = append(clients, m)
			}
			b.ReportAllocs()
			version := 1
			for b.Loop() {
				version++
				changed := xds.Received(names[version%services], xds.EndpointType, fmt.Sprint(version), &anypb.Any{})
				sets[xds.EndpointType] = sets[xds.EndpointType].With([]*xds.Resource{changed}, nil)
				state = xds.NewState(uint64(version), time.Time{}, sets[xds.ClusterType], sets[xds.EndpointType])
				for _, m := range clients {
					answer(b, m, m.Target(state))
				}
			}
		})
	}
}

// ask sends a request and acknowledges all that comes of it.
func ask(b *testing.B, m *Machine, r *Request) {
	out, err := m.Request(r)
	if err != nil {
		b.Fatal(err)
	}
	answer(b, m, out)
}

func answer(b *testing.B, m *Machine, out Out) {
	for _, f := range out.Frames {
		ask(b, m, &Request{TypeURL: f.TypeURL, Nonce: f.Nonce})
	}
}
