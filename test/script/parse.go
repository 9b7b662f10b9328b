package script

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/txtar"
)

// Script is a parsed file.
type Script struct {
	Name  string
	Lines []Line
	// Files by name.
	Files map[string]string
	// Without says why the script doesn't run in a mode.
	Without map[string]string
}

// Line is one command.
type Line struct {
	Number int
	// When are the conditions.
	When  []string
	Words []string
}

// String returns the command as written, but for its quotes.
func (l Line) String() string { return strings.Join(l.Words, " ") }

// Read reads a script.
func Read(path string) (*Script, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(strings.TrimSuffix(filepath.Base(path), ".txtar"), data)
}

// Parse parses a script.
func Parse(name string, data []byte) (*Script, error) {
	a := txtar.Parse(data)
	s := &Script{Name: name, Files: map[string]string{}, Without: map[string]string{}}
	for _, f := range a.Files {
		s.Files[f.Name] = string(f.Data)
	}
	var errs []error
	for i, text := range strings.Split(string(a.Comment), "\n") {
		words, err := split(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, i+1, err))
		}
		l := Line{Number: i + 1}
		for len(words) > 0 && strings.HasPrefix(words[0], "[") && strings.HasSuffix(words[0], "]") {
			l.When = append(l.When, words[0][1:len(words[0])-1])
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		if words[0] == "modes:" {
			errs = append(errs, s.without(l, words[1:]))
			continue
		}
		l.Words = words
		s.Lines = append(s.Lines, l)
	}
	return s, errors.Join(errs...)
}

func (s *Script) without(l Line, words []string) error {
	if len(words) < 3 || words[0] != "without" {
		return fmt.Errorf("%s:%d: modes: without MODE[,MODE…] REASON…", s.Name, l.Number)
	}
	for _, m := range strings.Split(words[1], ",") {
		if _, ok := modeNamed(m); !ok {
			return fmt.Errorf("%s:%d: no mode %q", s.Name, l.Number, m)
		}
		s.Without[m] = strings.Join(words[2:], " ")
	}
	return nil
}

// split splits a line into words.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inside, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case (r == '\'' || r == '"') && opens(word.String()):
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		case r == '#' && !inside && len(words) == 0:
			return nil, nil
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote has no end")
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

// opens says whether a quote after these characters of a word begins something quoted, and isn't an apostrophe.
func opens(word string) bool {
	return word == "" || strings.HasSuffix(word, "=") || strings.HasSuffix(word, ":")
}

// settings are the words of the form key=value, and the flags without a value.
type settings struct {
	values map[string][]string
	order  []string
}

func parseSettings(words []string) settings {
	s := settings{values: map[string][]string{}}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		if s.values[k] == nil {
			s.order = append(s.order, k)
		}
		s.values[k] = append(s.values[k], v)
	}
	return s
}

func (s settings) has(k string) bool { return s.values[k] != nil }

func (s settings) get(k, byDefault string) string {
	if v := s.values[k]; len(v) > 0 {
		return v[len(v)-1]
	}
	return byDefault
}

// only fails on settings that are not among the names.
func (s settings) only(names ...string) error {
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	for _, k := range s.order {
		if !known[k] {
			return fmt.Errorf("unknown word %q", k)
		}
	}
	return nil
}
