package compile

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
)

// format compiles a value with command operators.
func (c *Compiler) format(s string) (plan.Format, error) {
	if !strings.Contains(s, "%") {
		return plan.Format{Literal: s}, nil
	}
	t, err := telemetry.CompileText(s, c.Hostname, true)
	if err != nil {
		return plan.Format{}, err
	}
	return plan.Format{Text: t}, nil
}

func (c *Compiler) addHeaders(in []*corev3.HeaderValueOption) ([]plan.HeaderMutation, error) {
	var out []plan.HeaderMutation
	for i, o := range in {
		m, err := c.addHeader(o)
		if err != nil {
			return nil, at(err, "[%d]", i)
		}
		out = append(out, m)
	}
	return out, nil
}

func (c *Compiler) addHeader(o *corev3.HeaderValueOption) (plan.HeaderMutation, error) {
	key, value := o.GetHeader().GetKey(), o.GetHeader().GetValue()
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		value = string(raw)
	}
	out := plan.HeaderMutation{Name: plan.NewHeaderName(key), KeepEmpty: o.GetKeepEmptyValue()}
	if err := headerKey(key, &out.Name); err != nil {
		return out, err
	}
	if !header.ValidValue([]byte(value)) {
		return out, fmt.Errorf("value of header %q has characters that a header can't have", key)
	}
	switch {
	case o.GetAppend() != nil:
		out.Action = plan.OverwriteIfExistsOrAdd
		if o.GetAppend().GetValue() {
			out.Action = plan.AppendIfExistsOrAdd
		}
	case o.GetAppendAction() == corev3.HeaderValueOption_ADD_IF_ABSENT:
		out.Action = plan.AddIfAbsent
	case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		out.Action = plan.OverwriteIfExistsOrAdd
	case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		out.Action = plan.OverwriteIfExists
	}
	var err error
	out.Value, err = c.format(value)
	return out, at(err, "header %q", key)
}

func headerKey(key string, n *plan.HeaderName) error {
	switch {
	case key == "":
		return errors.New("header without a name")
	case n.IsPseudo():
		return fmt.Errorf("header %q can't be changed; host_rewrite_literal and prefix_rewrite do that", key)
	case !header.ValidName([]byte(key)):
		return fmt.Errorf("%q is not a header name", key)
	}
	return nil
}

// mutations are removals, then additions.
func (c *Compiler) mutations(add []*corev3.HeaderValueOption, remove []string) ([]plan.HeaderMutation, error) {
	var out []plan.HeaderMutation
	for _, name := range remove {
		n := plan.NewHeaderName(name)
		if err := headerKey(name, &n); err != nil {
			return nil, fmt.Errorf("header %q can't be removed", name)
		}
		out = append(out, plan.HeaderMutation{Name: n, Remove: true})
	}
	more, err := c.addHeaders(add)
	return append(out, more...), err
}
