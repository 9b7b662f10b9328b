package app

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/model"
)

// What a workload used is there after a restart, for its next proxy and for suggest, until it is too old.
func TestUsesAreRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "on-demand.json")
	open := func() *uses {
		u, err := openUses(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	u := open()
	p := &model.Proxy{Namespace: "shop", ServiceAccount: "web", WorkloadName: "web-v1", Labels: map[string]string{"app": "web", "version": "v1"}}
	other := &model.Proxy{Namespace: "shop", ServiceAccount: "web", WorkloadName: "web-v2"}
	u.note(p, "80/reviews", "shop/reviews.shop.svc.cluster.local")
	u.note(p, "80/reviews.shop", "shop/reviews.shop.svc.cluster.local")
	u.note(p, "10.0.0.1_5432", "data/db.data.svc.cluster.local")
	if err := u.save(); err != nil {
		t.Fatal(err)
	}
	u = open()
	if u.of(other) != nil {
		t.Error("another workload has something to remember")
	}
	list := new(structpb.ListValue)
	for r := range u.of(p).All() {
		if err := proto.Unmarshal(r.Body().GetValue(), list); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(list.GetValues()); n != 3 || list.GetValues()[0].GetStringValue() != "10.0.0.1_5432" {
		t.Errorf("remembered: %v", list)
	}
	w := httptest.NewRecorder()
	u.suggest(w, httptest.NewRequest("GET", cli.PathUses+"?namespace=shop&workload=web-v1", nil))
	var answer cli.UsesResponse
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Workloads) != 1 || len(answer.Workloads[0].Hosts) != 2 || answer.Workloads[0].Hosts[0] != "data/db.data.svc.cluster.local" {
		t.Errorf("suggested: %+v", answer)
	}
	u.now = func() time.Time { return time.Now().Add(usesAge + time.Hour) }
	if err := u.save(); err != nil {
		t.Fatal(err)
	}
	if u = open(); u.of(p) != nil {
		t.Error("names are remembered for ever")
	}
}
