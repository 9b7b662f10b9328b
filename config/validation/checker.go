package validation

import (
	"fmt"
	"strconv"

	"lateen.dev/lateen/config"
)

// path is a field path under construction: field("spec").to("http").at(0).
type path string

func field(name string) path { return path(name) }

func (p path) to(name string) path { return p + "." + path(name) }

func (p path) at(i int) path { return p + path("["+strconv.Itoa(i)+"]") }

func (p path) key(k string) path { return p + path("["+k+"]") }

// checker collects the complaints about one object.
type checker struct {
	object   *config.Object
	problems config.Problems
}

// fault complains about a field; the object can't be used with it. The hint
// says how to mend it and may be empty.
func (c *checker) fault(at path, hint, format string, args ...any) {
	c.add(config.Error, config.CodeSchema, at, hint, fmt.Sprintf(format, args...))
}

// warn remarks on a field that is allowed but surely not what was meant.
func (c *checker) warn(at path, hint, format string, args ...any) {
	c.add(config.Warning, config.CodeSchemaWarning, at, hint, fmt.Sprintf(format, args...))
}

// deprecated remarks on a field that has a successor.
func (c *checker) deprecated(at path, successor string) {
	c.add(config.Warning, config.CodeDeprecated, at, "Use "+successor, "this is deprecated")
}

func (c *checker) add(severity config.Severity, code config.Code, at path, hint, message string) {
	c.problems = append(c.problems, config.Problem{
		Severity: severity, Code: code.ID, Name: code.Name, Object: c.object.Ref(), Field: string(at),
		Position: c.object.Origin.At(string(at)), Message: message, Hint: hint,
	})
}

// unique complains about the second of two equal values, empty ones aside. what
// names them.
func unique[T any](c *checker, at path, what string, values []T, value func(T) string) {
	seen := map[string]int{}
	for i, v := range values {
		s := value(v)
		if s == "" {
			continue
		}
		if first, twice := seen[s]; twice {
			c.fault(at.at(i), "Keep one of the two", "%s %q is given twice; the first is %s[%d]", what, s, at, first)
			continue
		}
		seen[s] = i
	}
}
