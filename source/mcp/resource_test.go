package mcp

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/validation"
	"lateen.dev/lateen/xds"
)

// FuzzDecode: whatever a server sends is an object that can be judged and sent
// on, or an error.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a], http: [{route: [{destination: {host: b}}]}]}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: web}]}\n",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
	} {
		for _, o := range config.Decode([]byte(text), config.DecodeOptions{File: "in.yaml"}).Objects() {
			r, err := encode(o)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(o.Kind), r.Body().GetValue())
		}
	}
	const resourceType = "type.googleapis.com/istio.mcp.v1alpha1.Resource"
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		k := config.Kind(kind)
		if k.NewSpec() == nil {
			return
		}
		o, err := decode("xds://there", k, xds.FromAny("n", &anypb.Any{TypeUrl: resourceType, Value: body}))
		if err != nil {
			return
		}
		if o.Name == "" || o.Origin.Source == "" || o.Spec == nil {
			t.Errorf("%+v", o)
		}
		validation.Validate(o)
		if _, err := encode(o); err != nil {
			t.Errorf("it can't be sent on: %v", err)
		}
	})
}

func TestTypeURLs(t *testing.T) {
	for _, k := range config.Kinds() {
		for _, version := range k.Versions() {
			if got, ok := kindOf(typeURL(k, version)); got != k || !ok {
				t.Errorf("%s is %v, %v", typeURL(k, version), got, ok)
			}
		}
	}
	if got := typeURL(config.VirtualService, "v1"); got != "networking.istio.io/v1/VirtualService" {
		t.Error(got)
	}
	if got := typeURL(config.Service, "v1"); got != "core/v1/Service" {
		t.Error(got)
	}
	for _, url := range []string{"", "a/b", xds.ClusterType, "networking.istio.io/v9/VirtualService", "gateway.networking.k8s.io/v1/HTTPRoute"} {
		if k, ok := kindOf(url); ok {
			t.Errorf("%q is %v", url, k)
		}
	}
}
