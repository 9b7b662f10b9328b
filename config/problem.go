package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a Problem is. An object with an Error isn't used.
type Severity uint8

// Severities, worst last.
const (
	Info Severity = iota + 1
	Warning
	Error
)

// String is the severity as analysis output has it.
func (s Severity) String() string {
	switch s {
	case Info:
		return "Info"
	case Warning:
		return "Warning"
	case Error:
		return "Error"
	}
	return "Unknown"
}

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name in any case.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, v := range []Severity{Info, Warning, Error} {
		if strings.EqualFold(v.String(), string(text)) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("unknown severity %q: want Info, Warning or Error", text)
}

// Problem is one complaint about configuration, fit to be shown to its author:
// what is wrong, where, and how to mend it.
type Problem struct {
	Severity Severity `json:"severity"`
	// Code and Name identify the kind of complaint, with Istio's codes where
	// it has one ("IST0106", "SchemaValidationError").
	Code string `json:"code"`
	Name string `json:"name"`
	// Object is the object concerned, as far as it could be read.
	Object Ref `json:"object"`
	// Field is the path of the field concerned, "" for the whole object.
	Field string `json:"field,omitempty"`
	// Position is where that field, or the object, stands.
	Position Position `json:"position"`
	// Message says what is wrong; Hint how to mend it, and may be empty.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String puts the whole problem on one line:
//
//	Error [IST0106] (VirtualService default/reviews bookinfo.yaml:12:9 spec.http[0].route[0].weight) message. Hint
func (p Problem) String() string {
	var where []string
	for _, s := range []string{p.Object.String(), p.Position.String(), p.Field} {
		if s != "" {
			where = append(where, s)
		}
	}
	s := fmt.Sprintf("%s [%s] (%s) %s", p.Severity, p.Code, strings.Join(where, " "), p.Message)
	if p.Hint != "" {
		s += ". " + p.Hint
	}
	return s
}

// Compare orders problems by place, then code, then text.
func (p Problem) Compare(q Problem) int {
	return cmp.Or(
		strings.Compare(p.Position.File, q.Position.File), cmp.Compare(p.Position.Line, q.Position.Line),
		cmp.Compare(p.Position.Column, q.Position.Column),
		strings.Compare(p.Object.String(), q.Object.String()),
		strings.Compare(p.Code, q.Code), strings.Compare(p.Message, q.Message))
}

// Problems is a list of complaints; as an error it reports those of severity Error.
type Problems []Problem

// HasErrors says whether any of them is an Error.
func (ps Problems) HasErrors() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error })
}

// AtLeast returns those of severity s or worse.
func (ps Problems) AtLeast(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity >= s {
			out = append(out, p)
		}
	}
	return out
}

// Sorted returns a sorted copy without repetitions.
func (ps Problems) Sorted() Problems {
	out := slices.Clone(ps)
	slices.SortStableFunc(out, Problem.Compare)
	return slices.Compact(out)
}

// Err returns the errors among them as an error, nil when there are none.
func (ps Problems) Err() error {
	if errs := ps.AtLeast(Error); len(errs) > 0 {
		return errs
	}
	return nil
}

// Error lists every problem on a line of its own.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
