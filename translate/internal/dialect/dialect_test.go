package dialect_test

import (
	"testing"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
)

func TestPostQuantum(t *testing.T) {
	for _, c := range []struct {
		flavor  model.Flavor
		version string
		want    bool
	}{
		{model.LateenProxy, "", true},
		{model.StockEnvoy, "envoy 1.40.0", true},
		{model.StockEnvoy, "1.35.2", true},
		{model.StockEnvoy, "envoy 1.30.1", false},
		{model.StockEnvoy, "", false},
		{model.IstioEnvoy, "1.27.0", true},
		{model.IstioEnvoy, "1.9.3", false},
		{model.IstioEnvoy, "2.0", true},
		{model.IstioEnvoy, "master", false},
	} {
		d := dialect.Of(&model.Proxy{Flavor: c.flavor, Version: c.version})
		if d.PostQuantum != c.want {
			t.Errorf("%s %q: %t", c.flavor, c.version, d.PostQuantum)
		}
	}
}
