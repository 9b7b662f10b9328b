package validation

import (
	"net/netip"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
)

// Lengths that DNS and Kubernetes set.
const (
	maxLabel = 63
	maxHost  = 253
)

// isLabel: a DNS label, lower case, as names of namespaces and ports are.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isHost: dotted labels. Host names in rules may have upper case and, as the
// first part, an underscore, which DNS allows for services.
func isHost(s string) bool {
	if s == "" || len(s) > maxHost {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !isLabel(strings.ReplaceAll(strings.ToLower(part), "_", "x")) {
			return false
		}
	}
	return true
}

// isSubdomain: dotted lower-case labels, as names of objects are.
func isSubdomain(s string) bool {
	return isHost(s) && strings.ToLower(s) == s && !strings.Contains(s, "_") && !strings.HasSuffix(s, ".")
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func isPrefix(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// host checks a host name without wildcards.
func (c *checker) host(at path, s string) {
	switch {
	case s == "":
		c.fault(at, "Name a host", "the host is empty")
	case strings.HasPrefix(s, "*"):
		c.fault(at, "Name one host", "a wildcard isn't allowed here: %q", s)
	case !isHost(s) && !isIP(s):
		c.fault(at, "Letters, digits, '-' and '.' only", "%q is no host name", s)
	}
}

// wildcardHost checks a host name that may be "*" or begin with "*.".
func (c *checker) wildcardHost(at path, s string) {
	rest, wild := strings.CutPrefix(s, "*.")
	switch {
	case s == "*" || isIP(s):
	case s == "":
		c.fault(at, "Name a host, such as reviews or *.example.com", "the host is empty")
	case wild && isHost(rest), !wild && isHost(s):
	case strings.Contains(s, "*"):
		c.fault(at, "A wildcard is a whole first part: *.example.com, or * alone", "%q is no host name", s)
	default:
		c.fault(at, "Letters, digits, '-' and '.' only", "%q is no host name", s)
	}
}

func (c *checker) port(at path, n uint32) {
	if n < 1 || n > 65535 {
		c.fault(at, "Ports are 1 to 65535", "%d is no port number", n)
	}
}

// duration checks a duration that must be at least a millisecond.
func (c *checker) duration(at path, d *durationpb.Duration) {
	if d == nil {
		return
	}
	v := d.AsDuration()
	switch {
	case v < time.Millisecond:
		c.fault(at, "Give a duration of at least 1ms", "%s is too short a duration", v)
	case v%time.Millisecond != 0:
		c.fault(at, "Round it", "%s is finer than a millisecond", v)
	}
}

// nonZero drops a duration of 0, which turns a limit off.
func nonZero(d *durationpb.Duration) *durationpb.Duration {
	if d.AsDuration() == 0 {
		return nil
	}
	return d
}

// notNegative checks a duration for which 0 has a meaning.
func (c *checker) notNegative(at path, d *durationpb.Duration) {
	if d.AsDuration() < 0 {
		c.fault(at, "", "%s is negative", d.AsDuration())
	}
}

func (c *checker) percent(at path, p *networking.Percent) {
	if p != nil && !(p.Value >= 0 && p.Value <= 100) {
		c.fault(at.to("value"), "Percentages are 0 to 100", "%v is no percentage", p.Value)
	}
}

func (c *checker) percentNumber(at path, n int32) {
	if n < 0 || n > 100 {
		c.fault(at, "Percentages are 0 to 100", "%d is no percentage", n)
	}
}

func (c *checker) count(at path, n int32) {
	if n < 0 {
		c.fault(at, "", "%d is negative", n)
	}
}

func (c *checker) countValue(at path, n *wrapperspb.UInt32Value, high uint32) {
	if n != nil && n.Value > high {
		c.fault(at, "", "%d is more than %d", n.Value, high)
	}
}

func (c *checker) regex(at path, s string) {
	if len(s) > 1024 {
		c.fault(at, "Shorten it", "the regular expression has %d bytes; at most 1024 are allowed", len(s))
	}
	if _, err := regexp.Compile(s); err != nil {
		c.fault(at, "Use the syntax of RE2; dots and brackets that are meant literally need a backslash", "%q is no regular expression: %v", s, cause(err))
	}
}

// cause shortens regexp's message to what is wrong.
func cause(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

func (c *checker) exportTo(at path, values []string) {
	unique(c, at, "namespace", values, func(s string) string { return s })
	for i, v := range values {
		switch {
		case v == "*" || v == "~":
			if len(values) > 1 {
				c.fault(at.at(i), "Keep it alone, or remove it", "%q makes the other entries meaningless", v)
			}
		case v == "." || isLabel(v):
		default:
			c.fault(at.at(i), "Write a namespace, \".\" for this one, or \"*\" for all", "%q is no namespace", v)
		}
	}
}

var (
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
)

// labelKey: NAME or PREFIX/NAME.
func isLabelKey(s string) bool {
	prefix, name, qualified := strings.Cut(s, "/")
	if !qualified {
		return labelName.MatchString(s)
	}
	return isSubdomain(prefix) && labelName.MatchString(name)
}

func (c *checker) labels(at path, labels map[string]string) {
	for k, v := range labels {
		if !isLabelKey(k) {
			c.fault(at.key(k), "NAME or DOMAIN/NAME; letters, digits, '-', '_' and '.', at most 63", "%q is no label name", k)
		}
		if v != "" && !labelName.MatchString(v) {
			c.fault(at.key(k), "Letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends", "%q is no label value", v)
		}
	}
}

// selector checks the labels that workloads are chosen by.
func (c *checker) selector(at path, labels map[string]string) {
	for k, v := range labels {
		if strings.Contains(k, "*") || strings.Contains(v, "*") {
			c.fault(at.key(k), "Name one value", "wildcards aren't allowed in a selector: %s=%s", k, v)
			return
		}
	}
	c.labels(at, labels)
}

func (c *checker) headerName(at path, name string) {
	switch {
	case name == "":
		c.fault(at, "", "the header's name is empty")
	case !headerName.MatchString(name):
		c.fault(at, "", "%q is no header name", name)
	}
}

// metadata checks what an API server would check.
func (c *checker) metadata() {
	o := c.object
	if !isSubdomain(o.Name) {
		c.fault("metadata.name", "Lower-case letters, digits, '-' and '.', a letter or digit at both ends", "%q is no object name", o.Name)
	}
	if !o.Kind.ClusterScoped() && !isLabel(o.Namespace) {
		c.fault("metadata.namespace", "Lower-case letters, digits and '-'", "%q is no namespace", o.Namespace)
	}
	c.labels("metadata.labels", o.Labels)
	for k := range o.Annotations {
		if !isLabelKey(k) {
			c.fault(path("metadata.annotations").key(k), "NAME or DOMAIN/NAME", "%q is no annotation name", k)
		}
	}
}
