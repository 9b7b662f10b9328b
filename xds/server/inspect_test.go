package server

import (
	"context"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/xds"
)

func inspected(_ context.Context, _ Client, typeURL string, names []string) ([]*xds.Resource, error) {
	if len(names) != 1 {
		return nil, status.Error(codes.InvalidArgument, "one name")
	}
	return []*xds.Resource{xds.FromAny(names[0], &anypb.Any{TypeUrl: typeURL, Value: []byte("seen")})}, nil
}

// A tool's stream costs no translation and is no proxy; a proxy may ask too.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, _ := newFake(Limits{})
		s.cfg.Inspect = inspected
		tool := open(t.Context(), s)
		tool.ask("istioctl", "istio.io/debug", "", "syncz")
		f := <-tool.out
		if f.TypeURL != "istio.io/debug" || len(f.Resources) != 1 || string(f.Resources[0].Body().GetValue()) != "seen" {
			t.Errorf("the tool got %+v", f)
		}
		tool.ask("", "istio.io/debug", f.Nonce, "syncz")
		tool.ask("", "istio.io/debug", "", "adsz")
		if f := <-tool.out; f.Resources[0].Name != "adsz" {
			t.Errorf("the second answer is %+v", f)
		}
		if len(p.attached) != 0 || s.Ledger().Connected() != 0 {
			t.Errorf("attached %v, %d in the ledger", p.attached, s.Ledger().Connected())
		}
		tool.ask("", xds.ClusterType, "")
		if err := <-tool.err; status.Code(err) != codes.InvalidArgument {
			t.Errorf("asking for clusters then: %v", err)
		}
		w := open(t.Context(), s)
		w.ask("proxy", xds.ClusterType, "")
		<-w.out
		w.ask("", "istio.io/debug/syncz", "", "x")
		if f := <-w.out; f.TypeURL != "istio.io/debug/syncz" {
			t.Errorf("the proxy got %+v", f)
		}
		w.ask("", "istio.io/debug", "")
		if err := <-w.err; status.Code(err) != codes.InvalidArgument {
			t.Errorf("an error of Inspect's: %v", err)
		}
		s.Close()
	})
}
