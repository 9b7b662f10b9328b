package script

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lateen.dev/lateen/test/kit"
)

// aside says that an expect line is not about the responses themselves, but about what is known a moment later.
func aside(l Line) bool {
	return len(l.Words) > 1 && slices.Contains([]string{"seen", "metric", "log", "unlogged", "stat"}, l.Words[1])
}

func (r *run) expect(l Line) error {
	words := l.Words[1:]
	if len(words) == 0 {
		return errors.New("expect what?")
	}
	if aside(l) {
		return r.expectAside(l, words)
	}
	if r.sent == nil {
		return errors.New("nothing has been sent")
	}
	if words[0] == "share" {
		return r.expectShare(words[1:])
	}
	for _, w := range words {
		reason, err := r.expectWord(w)
		if reason != "" {
			r.skip(Line{Number: l.Number, Words: []string{"expect", w}}, reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expectWord checks one word against every response. reason says why the mode can't.
func (r *run) expectWord(word string) (reason string, err error) {
	key, want, _ := strings.Cut(word, "=")
	decides := r.mode.Network == nil
	switch {
	case strings.HasPrefix(word, "took"):
		return "", r.every(func(p *kit.Response) error { return took(p, word) }, word)
	case onlyDecided(key) && !decides:
		return "only decisions tell", nil
	case onlyBytes(key) && decides:
		return "only bytes tell", nil
	}
	check, ok := checks()[key]
	if !ok {
		return "", fmt.Errorf("no check %q", word)
	}
	if err := r.together(key, want); err != nil {
		return "", fmt.Errorf("%s: %w", word, err)
	}
	return "", r.every(func(p *kit.Response) error { return check(p, want) }, word)
}

// together checks what is about all responses at once.
func (r *run) together(key, want string) error {
	names, statuses := map[string]int{}, map[string]int{}
	for i := range r.got {
		statuses[strconv.Itoa(r.got[i].Status)]++
		if p := r.got[i].Report; p != nil {
			names[p.Name]++
		}
	}
	switch {
	case key == "some-status" && statuses[want] == 0:
		return fmt.Errorf("the statuses are %s", sorted(statuses))
	case key == "same-name" && len(names) != 1:
		return fmt.Errorf("the servers are %s", sorted(names))
	}
	return nil
}

// every applies a check to every response.
func (r *run) every(check func(*kit.Response) error, word string) error {
	for i := range r.got {
		if err := check(&r.got[i]); err != nil {
			return fmt.Errorf("%s, response %d of %d: %w\n%s", word, i+1, len(r.got), err, describe(&r.got[i]))
		}
	}
	return nil
}

func describe(p *kit.Response) string {
	s := fmt.Sprintf("  status %d, error %v, body %q, headers %v, took %v", p.Status, p.Err, p.Body, p.Header, p.Took)
	if p.Report != nil {
		s += fmt.Sprintf("\n  the server: %+v", *p.Report)
	}
	if p.Decision != nil {
		s += fmt.Sprintf("\n  the decision: %+v", *p.Decision)
	}
	return s
}

func onlyDecided(key string) bool {
	return slices.Contains([]string{"cluster", "route", "retries", "timeout", "mirror"}, key)
}

func onlyBytes(key string) bool {
	return slices.Contains([]string{"principal", "proto", "chunked", "continued", "body", "answer", "request-header", "no-request-header",
		"response-header", "no-response-header", "request-chunked", "answer-bytes"}, key)
}

// check is about one response.
type check func(p *kit.Response, want string) error

func checks() map[string]check {
	all := map[string]check{
		"status": checkStatus, "failed": checkFailed, "tls": checkTLS, "principal": checkPrincipal, "answer": checkAnswer,
		"request-header": checkRequestHeader, "no-request-header": checkNoRequestHeader, "response-header": checkResponseHeader,
		"no-response-header": checkNoResponseHeader,
		"location":           func(p *kit.Response, want string) error { return differ(p.Header.Get("Location"), want) },
		"some-status":        func(*kit.Response, string) error { return nil }, // of all responses together: see expectWord
		"same-name":          func(*kit.Response, string) error { return nil },
		"request-chunked":    func(p *kit.Response, _ string) error { return differ(p.Report != nil && p.Report.Chunked, true) },
		"answer-bytes":       func(p *kit.Response, want string) error { return differ(strconv.Itoa(len(p.Body)), want) },
		"chunked":            func(p *kit.Response, _ string) error { return differ(p.Chunked, true) },
		"continued":          func(p *kit.Response, _ string) error { return differ(p.Continued, true) },
	}
	for key, of := range map[string]func(*kit.Report) string{
		"version": func(p *kit.Report) string { return p.Version }, "name": func(p *kit.Report) string { return p.Name },
		"method": func(p *kit.Report) string { return p.Method }, "path": func(p *kit.Report) string { return p.Path },
		"authority": func(p *kit.Report) string { return p.Host }, "proto": func(p *kit.Report) string { return p.Proto },
		"body": func(p *kit.Report) string { return p.Body },
	} {
		all[key] = func(p *kit.Response, want string) error {
			if p.Report == nil {
				return fmt.Errorf("no server answered: %w", cmp.Or(p.Err, errors.New("the answer is a proxy's")))
			}
			return differ(of(p.Report), want)
		}
	}
	for key, of := range map[string]func(*kit.Decision) string{
		"cluster":  func(d *kit.Decision) string { return d.Cluster },
		"route":    func(d *kit.Decision) string { return d.Route.File + ":" + strconv.Itoa(d.Route.Line) },
		"retries":  func(d *kit.Decision) string { return strconv.Itoa(int(d.Retries)) },
		"timeout":  func(d *kit.Decision) string { return d.Timeout.String() },
		"mirror":   func(d *kit.Decision) string { return strings.Join(d.Mirrors, ",") },
		"listener": func(d *kit.Decision) string { return d.Listener },
	} {
		all[key] = func(p *kit.Response, want string) error { return differ(of(p.Decision), want) }
	}
	return all
}

func differ[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v", got)
	}
	return nil
}

func checkStatus(p *kit.Response, want string) error {
	if p.Err != nil {
		return p.Err
	}
	return differ(strconv.Itoa(p.Status), want)
}

func checkFailed(p *kit.Response, _ string) error {
	if p.Err == nil {
		return errors.New("there was an answer")
	}
	return nil
}

func checkAnswer(p *kit.Response, want string) error {
	if !strings.Contains(p.Body, want) {
		return fmt.Errorf("the answer is %q (%w)", p.Body, p.Err)
	}
	return nil
}

// checkTLS looks for what the server's sidecar tells of the client's certificate.
func checkTLS(p *kit.Response, want string) error {
	got := "none"
	switch {
	case p.Decision != nil && p.Decision.TLS:
		got = "mutual"
	case p.Report == nil:
		return errors.New("no server answered")
	case p.Report.Headers.Get("X-Forwarded-Client-Cert") != "":
		got = "mutual"
	}
	return differ(got, want)
}

func checkPrincipal(p *kit.Response, want string) error {
	if p.Report == nil {
		return errors.New("no server answered")
	}
	cert := p.Report.Headers.Get("X-Forwarded-Client-Cert")
	for _, part := range strings.Split(cert, ";") {
		if part == "URI="+want {
			return nil
		}
	}
	return fmt.Errorf("the client's certificate was %q", cert)
}

func checkRequestHeader(p *kit.Response, want string) error {
	if p.Report == nil {
		return errors.New("no server answered")
	}
	return checkHeader(p.Report.Headers.Values, want)
}

func checkNoRequestHeader(p *kit.Response, name string) error {
	if p.Report == nil {
		return errors.New("no server answered")
	}
	return checkNoHeader(p.Report.Headers.Values(name))
}

func checkResponseHeader(p *kit.Response, want string) error {
	return checkHeader(p.Header.Values, want)
}

func checkNoResponseHeader(p *kit.Response, name string) error {
	return checkNoHeader(p.Header.Values(name))
}

func checkHeader(of func(string) []string, want string) error {
	name, value, _ := strings.Cut(want, ":")
	values := of(name)
	if value == "*" && len(values) > 0 || slices.Contains(values, value) {
		return nil
	}
	return fmt.Errorf("got %q", values)
}

func checkNoHeader(values []string) error {
	if len(values) > 0 {
		return fmt.Errorf("got %q", values)
	}
	return nil
}

// took checks took>=1s or took<2s.
func took(p *kit.Response, word string) error {
	rest, least := strings.CutPrefix(word, "took>=")
	if !least {
		rest = strings.TrimPrefix(word, "took<")
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return err
	}
	if (p.Took >= d) != least {
		return fmt.Errorf("it took %v", p.Took)
	}
	return nil
}

// defaultTolerance is how many percent a share may be off.
const defaultTolerance = 8

func (r *run) expectShare(words []string) error {
	counts := map[string]int{}
	for i := range r.got {
		p := &r.got[i]
		counts["status:"+strconv.Itoa(p.Status)]++
		if p.Report != nil {
			counts[p.Report.Version]++
			counts["name:"+p.Report.Name]++
		}
	}
	wanted := parseSettings(words)
	tolerance, err := strconv.ParseFloat(wanted.get("tolerance", strconv.Itoa(defaultTolerance)), 64)
	if err != nil {
		return fmt.Errorf("tolerance: %w", err)
	}
	if r.mode.Network == nil {
		tolerance = 1 // decisions are spread evenly
	}
	for _, key := range wanted.order {
		if key == "tolerance" {
			continue
		}
		want, err := strconv.ParseFloat(wanted.get(key, ""), 64)
		if err != nil {
			return fmt.Errorf("share of %s: %w", key, err)
		}
		got := 100 * float64(counts[key]) / float64(len(r.got))
		// What is to have all or nothing has it exactly.
		exact := want == 0 || want == 100
		if d := got - want; d > tolerance || -d > tolerance || exact && d != 0 {
			return fmt.Errorf("share of %s is %.1f%%; of %d responses: %v\n%s", key, got, len(r.got), sorted(counts), describe(&r.got[0]))
		}
	}
	return nil
}

func sorted(counts map[string]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%s %d, ", k, counts[k])
	}
	return b.String()
}
