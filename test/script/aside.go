package script

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lateen.dev/lateen/test/kit"
)

// expectAside checks what hosts and their proxies have to say beside the responses.
func (r *run) expectAside(l Line, words []string) error {
	if r.mode.Network == nil {
		r.skip(l, "nothing runs")
		return nil
	}
	if len(words) < 3 {
		return fmt.Errorf("expect %s HOST …", words[0])
	}
	h := r.mesh.Host(words[1])
	if h == nil {
		return fmt.Errorf("no host %q", words[1])
	}
	switch words[0] {
	case "seen":
		return expectSeen(h, words[2:])
	case "log":
		return expectLog(h, words[2:])
	case "unlogged":
		if expectLog(h, words[2:]) == nil {
			return errors.New("the log has such a line")
		}
		return nil
	case "metric":
		if h.Engine == kit.Envoy {
			r.skip(l, "a stock Envoy has no such metrics")
			return nil
		}
		return r.expectMetric(h, "/stats/prometheus", words[2:])
	default:
		if h.Engine != kit.Envoy {
			r.skip(l, "the counter is a stock Envoy's")
			return nil
		}
		return r.expectStat(h, words[2:])
	}
}

func expectSeen(h *kit.Host, words []string) error {
	if len(words) < 2 || h.Server == nil {
		return errors.New("expect seen HOST OP N [path=…], of a host with a program")
	}
	s := parseSettings(words[2:])
	if err := s.only("path", "authority"); err != nil {
		return err
	}
	n := 0
	for _, p := range h.Server.Seen() {
		if s.has("path") && p.Path != s.get("path", "") || s.has("authority") && p.Host != s.get("authority", "") {
			continue
		}
		n++
	}
	return compare(float64(n), words[0], words[1])
}

func expectLog(h *kit.Host, texts []string) error {
	for _, line := range strings.Split(h.Log(), "\n") {
		all := true
		for _, t := range texts {
			all = all && strings.Contains(line, t)
		}
		if all {
			return nil
		}
	}
	return errors.New("the log has no such line")
}

func (r *run) expectMetric(h *kit.Host, path string, words []string) error {
	if len(words) != 3 {
		return errors.New(`expect metric HOST NAME{label="value",…} OP N`)
	}
	name, labels, _ := strings.Cut(strings.TrimSuffix(words[0], "}"), "{")
	page, err := h.Admin(r.t.Context(), path)
	if err != nil {
		return err
	}
	sum := 0.0
	var near []string
	for _, line := range strings.Split(page, "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		near = append(near, line)
		at := strings.LastIndexByte(rest, ' ')
		if !hasLabels(rest[:at], labels) {
			continue
		}
		v, err := strconv.ParseFloat(rest[at+1:], 64)
		if err != nil {
			return fmt.Errorf("sample %q: %w", line, err)
		}
		sum += v
	}
	if err := compare(sum, words[1], words[2]); err != nil {
		return fmt.Errorf("%w; samples of that name:\n%s", err, strings.Join(near, "\n"))
	}
	return nil
}

// hasLabels says whether a sample's labels include all those wanted: a="b",c="d".
func hasLabels(sample, wanted string) bool {
	for _, w := range strings.Split(wanted, ",") {
		if w != "" && !strings.Contains(sample, "{"+w+",") && !strings.Contains(sample, ","+w+",") && !strings.Contains(sample, "{"+w+"}") && !strings.Contains(sample, ","+w+"}") {
			return false
		}
	}
	return true
}

func (r *run) expectStat(h *kit.Host, words []string) error {
	if len(words) != 3 {
		return errors.New("expect stat HOST NAME OP N")
	}
	page, err := h.Admin(r.t.Context(), "/stats?usedonly")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(page, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		if name != words[0] {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("counter %q: %w", line, err)
		}
		return compare(v, words[1], words[2])
	}
	return compare(0, words[1], words[2])
}

func compare(got float64, op, want string) error {
	n, err := strconv.ParseFloat(want, 64)
	if err != nil {
		return err
	}
	ok := false
	switch op {
	case "=":
		ok = got == n
	case ">=":
		ok = got >= n
	case "<=":
		ok = got <= n
	case ">":
		ok = got > n
	default:
		return fmt.Errorf("no comparison %q", op)
	}
	if !ok {
		return fmt.Errorf("got %v", got)
	}
	return nil
}
