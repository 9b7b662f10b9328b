package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"lateen.dev/lateen/proxy/plan"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
)

// fieldSet are the fields of a message that are handled, or make no difference here.
type fieldSet map[protoreflect.Name]bool

func fields(names string) fieldSet {
	s := fieldSet{}
	for _, n := range strings.Fields(names) {
		s[protoreflect.Name(n)] = true
	}
	return s
}

// only refuses a message that has a field set outside of s.
func (s fieldSet) only(m proto.Message) error {
	r := m.ProtoReflect()
	if !r.IsValid() {
		return nil
	}
	var err error
	r.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if s[f.Name()] || f.Kind() == protoreflect.BoolKind && !f.IsList() && !v.Bool() {
			return true
		}
		err = fmt.Errorf("%s is not supported by this proxy", f.Name())
		return false
	})
	return err
}

// extension is a typed configuration: a known message, or a struct under the name of a message.
type extension struct {
	// kind is the message's full name.
	kind string
	any  *anypb.Any
	st   *structpb.Struct
}

func extensionOf(a *anypb.Any) (extension, error) {
	e := extension{kind: messageName(a.GetTypeUrl()), any: a}
	switch e.kind {
	case "":
		return e, errors.New("typed_config is missing")
	case "udpa.type.v1.TypedStruct":
		var ts udpav1.TypedStruct
		if err := a.UnmarshalTo(&ts); err != nil {
			return e, fmt.Errorf("typed_config: %w", err)
		}
		return extension{kind: messageName(ts.GetTypeUrl()), st: orEmpty(ts.GetValue())}, nil
	case "xds.type.v3.TypedStruct":
		var ts xdsv3.TypedStruct
		if err := a.UnmarshalTo(&ts); err != nil {
			return e, fmt.Errorf("typed_config: %w", err)
		}
		return extension{kind: messageName(ts.GetTypeUrl()), st: orEmpty(ts.GetValue())}, nil
	}
	return e, nil
}

func orEmpty(s *structpb.Struct) *structpb.Struct {
	if s == nil {
		return &structpb.Struct{}
	}
	return s
}

func messageName(url string) string {
	return url[strings.LastIndexByte(url, '/')+1:]
}

// into fills a message from either form.
func (e *extension) into(m proto.Message) error {
	if e.st == nil {
		if err := e.any.UnmarshalTo(m); err != nil {
			return fmt.Errorf("typed_config: %w", err)
		}
		return nil
	}
	b, err := protojson.Marshal(e.st)
	if err != nil {
		return fmt.Errorf("typed_config: %w", err)
	}
	if err := protojson.Unmarshal(b, m); err != nil {
		return fmt.Errorf("typed_config as %s: %w", e.kind, err)
	}
	return nil
}

// object fills a Go struct with JSON tags from a TypedStruct, or from an empty message.
func (e *extension) object(into any) error {
	if e.st == nil {
		if len(e.any.GetValue()) == 0 {
			return nil
		}
		return fmt.Errorf("%s is understood as a TypedStruct only", e.kind)
	}
	b, err := protojson.Marshal(e.st)
	if err != nil {
		return fmt.Errorf("typed_config: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("typed_config as %s: %w", e.kind, err)
	}
	return nil
}

// duration returns d, or def when it isn't given.
func duration(d *durationpb.Duration, def time.Duration) (time.Duration, error) {
	if d == nil {
		return def, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, fmt.Errorf("duration: %w", err)
	}
	v := d.AsDuration()
	if v < 0 {
		return 0, fmt.Errorf("duration %v is negative", v)
	}
	return v, nil
}

// durations collects the errors of several.
type durations struct{ err error }

func (ds *durations) get(name string, d *durationpb.Duration, def time.Duration) time.Duration {
	v, err := duration(d, def)
	if err != nil && ds.err == nil {
		ds.err = at(err, "%s", name)
	}
	return v
}

func u32(v *wrapperspb.UInt32Value, def uint32) uint32 {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func boolean(v *wrapperspb.BoolValue, def bool) bool {
	if v == nil {
		return def
	}
	return v.GetValue()
}

func port16(p uint32) (uint16, error) {
	if p > math.MaxUint16 {
		return 0, fmt.Errorf("port %d is above 65535", p)
	}
	return uint16(p), nil
}

// fraction reads a share; nil is def.
func fraction(p *typev3.FractionalPercent, def plan.Fraction) (plan.Fraction, error) {
	if p == nil {
		return def, nil
	}
	f := plan.Fraction{Numerator: p.GetNumerator()}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		f.Denominator = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.Denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.Denominator = 1_000_000
	default:
		return f, fmt.Errorf("denominator %d is unknown", p.GetDenominator())
	}
	return f, nil
}

var always = plan.Fraction{Numerator: 100, Denominator: 100}

// runtimeFraction reads a fraction that Envoy's runtime could override; this proxy has no runtime, so the default counts.
func runtimeFraction(p *corev3.RuntimeFractionalPercent, def plan.Fraction) (plan.Fraction, error) {
	return fraction(p.GetDefaultValue(), def)
}

// metadata converts filter_metadata.
func metadata(m *corev3.Metadata) plan.Metadata {
	if len(m.GetFilterMetadata()) == 0 {
		return nil
	}
	out := make(plan.Metadata, len(m.GetFilterMetadata()))
	for name, s := range m.GetFilterMetadata() {
		out[name] = s.AsMap()
	}
	return out
}

// origin reads where a resource comes from out of its metadata.
func origin(m plan.Metadata) plan.Origin {
	o := plan.Origin{Config: m.String("istio", "config"), Rule: m.String("lateen", "rule")}
	o.File = m.String("lateen", "origin")
	if o.Config == "" {
		o.Config = m.String("lateen", "object")
	}
	if i := strings.LastIndexByte(o.File, ':'); i > 0 {
		line := 0
		if _, err := fmt.Sscanf(o.File[i+1:], "%d", &line); err == nil && line > 0 {
			o.File, o.Line = o.File[:i], line
		}
	}
	return o
}

var errNoData = errors.New("no data source is set")

// data reads a DataSource.
func (c *Compiler) data(d *corev3.DataSource) ([]byte, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString), nil
	case *corev3.DataSource_Filename:
		if c.ReadFile == nil {
			return nil, fmt.Errorf("file %q: files can't be read here", s.Filename)
		}
		b, err := c.ReadFile(s.Filename)
		if err != nil {
			return nil, fmt.Errorf("file: %w", err)
		}
		return b, nil
	case *corev3.DataSource_EnvironmentVariable:
		if c.Getenv != nil {
			if v, ok := c.Getenv(s.EnvironmentVariable); ok {
				return []byte(v), nil
			}
		}
		return nil, fmt.Errorf("environment variable %q is not set", s.EnvironmentVariable)
	}
	return nil, errNoData
}
