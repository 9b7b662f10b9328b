package listener

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/model"
)

func TestLogsOf(t *testing.T) {
	for _, tt := range []struct {
		name, mesh     string
		said           []string // the most general first
		told           bool
		client, server string
	}{
		{name: "nothing", mesh: `{}`},
		{name: "a file of the mesh", mesh: `{"accessLogFile":"/x"}`},
		{name: "default providers", mesh: `{"accessLogFile":"/x","defaultProviders":{"accessLogging":["b","a"]}}`, told: true, client: "b\na", server: "b\na"},
		{name: "the mesh's file off for one side", mesh: `{"accessLogFile":"/x"}`,
			said: []string{`{"accessLogging":[{"match":{"mode":"SERVER"},"disabled":true}]}`}, told: true, client: meshLog},
		{name: "providers replace inherited ones", mesh: `{"defaultProviders":{"accessLogging":["a"]}}`,
			said: []string{`{"accessLogging":[{"providers":[{"name":"b"}]},{"providers":[{"name":"c"}]}]}`}, told: true, client: "b\nc", server: "b\nc"},
		{name: "off, then on again for clients", mesh: `{"defaultProviders":{"accessLogging":["a"]}}`,
			said: []string{`{"accessLogging":[{"disabled":true}]}`, `{"accessLogging":[{"match":{"mode":"CLIENT"},"providers":[{"name":"a"}]}]}`}, told: true, client: "a"},
		{name: "one of two off", mesh: `{"defaultProviders":{"accessLogging":["a","b"]}}`,
			said: []string{`{"accessLogging":[{},{"match":{"mode":"CLIENT"},"disabled":true}]}`}, told: true, server: "a\nb"},
		{name: "metrics say nothing about logs", mesh: `{"accessLogFile":"/x"}`, said: []string{`{"metrics":[{}]}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mesh := &model.Mesh{Config: &meshconfig.MeshConfig{}}
			if err := protojson.Unmarshal([]byte(tt.mesh), mesh.Config); err != nil {
				t.Fatal(err)
			}
			var objects []*model.Telemetry
			for _, said := range tt.said {
				o := &model.Telemetry{Spec: &telemetry.Telemetry{}}
				if err := protojson.Unmarshal([]byte(said), o.Spec); err != nil {
					t.Fatal(err)
				}
				objects = append(objects, o)
			}
			if got, want := LogsOf(mesh, objects), (Logs{tt.told, tt.client, tt.server}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
