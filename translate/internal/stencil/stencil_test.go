package stencil_test

import (
	"bytes"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/stencil"
)

// message has texts in plain fields, lists, messages in lists, map values, choices and packed messages.
func message(a, b string, list []string) proto.Message {
	host := &routev3.VirtualHost{Name: a, Domains: list, Routes: []*routev3.Route{{
		Name: b, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/" + a}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: b}}},
	}}}
	for _, one := range list {
		host.RequestHeadersToAdd = append(host.RequestHeadersToAdd, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x", Value: "<" + one + ">"}})
	}
	return &listenerv3.FilterChain{
		Name: "before " + a + " between " + b + " after",
		Filters: []*listenerv3.Filter{
			{Name: a, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pb.Any(host)}},
			{Name: "fixed"},
		},
		Metadata: pb.SetMetadata(pb.SetMetadata(nil, "one", "k", pb.String(b)), "two", "list",
			structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{pb.String("x"), pb.String(a)}})),
	}
}

func FuzzStencil(f *testing.F) {
	f.Add("a", "b", "x y z")
	f.Add("", "", "")
	f.Add(strings.Repeat("long", 1000), "b", strings.Repeat("z ", 300))
	f.Add("", stencil.Hole(1)+stencil.Each, " "+stencil.Hole(0)+" ")
	s := stencil.New(message(stencil.Hole(0), stencil.Hole(1), []string{stencil.Each}))
	if s == nil {
		f.Fatal("no Stencil")
	}
	f.Fuzz(func(t *testing.T, a, b, words string) {
		for _, text := range []*string{&a, &b, &words} {
			*text = strings.ToValidUTF8(*text, "?")
		}
		v := stencil.Values{Text: [stencil.Holes]string{a, b}, Each: strings.Split(words, " ")}
		if got, want := s.Append([]byte("x"), &v), pb.Marshal(message(a, b, v.Each)); !bytes.Equal(got[1:], want) {
			t.Errorf("%q\nwant %q", got[1:], want)
		}
	})
}

// A hole where no text can be put later makes no Stencil.
func TestNoStencil(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"list outside of a list": &corev3.HeaderValue{Key: stencil.Each},
		"unknown number":         &corev3.HeaderValue{Key: stencil.Hole(20)},
		"bytes":                  &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(stencil.Hole(0))}},
	} {
		if stencil.New(m) != nil {
			t.Errorf("%s: a Stencil", name)
		}
	}
	if !stencil.Free("plain") || stencil.Free("x"+stencil.Hole(3)) {
		t.Error("Free tells holes from texts wrongly")
	}
}
