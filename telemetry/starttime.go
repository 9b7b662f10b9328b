package telemetry

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// defaultStartTime is the layout of %START_TIME% without an argument.
const defaultStartTime = "2006-01-02T15:04:05.000Z"

// strftime maps the conversions of %START_TIME(...)% to Go's layouts.
var strftime = [...]struct{ conversion, layout string }{
	{"%E3S", "05.000"}, {"%E6S", "05.000000"}, {"%E9S", "05.000000000"}, {"%3f", "000"}, {"%6f", "000000"}, {"%9f", "000000000"},
	{"%Y", "2006"}, {"%m", "01"}, {"%d", "02"}, {"%H", "15"}, {"%M", "04"}, {"%S", "05"}, {"%b", "Jan"}, {"%a", "Mon"},
	{"%Z", "MST"}, {"%z", "-0700"}, {"%T", "15:04:05"}, {"%F", "2006-01-02"},
}

// startTimeOperator compiles the argument of %START_TIME(...)%.
func startTimeOperator(arg string) (operator, error) {
	if arg == "" {
		return func(dst []byte, r *Record) ([]byte, bool) {
			return r.Start.UTC().AppendFormat(dst, defaultStartTime), true
		}, nil
	}
	if arg == "%s" {
		return func(dst []byte, r *Record) ([]byte, bool) { return strconv.AppendInt(dst, r.Start.Unix(), 10), true }, nil
	}
	var parts []operator
	for arg != "" {
		part, rest, err := startTimePart(arg)
		if err != nil {
			return nil, err
		}
		parts, arg = append(parts, part), rest
	}
	return func(dst []byte, r *Record) ([]byte, bool) {
		for _, p := range parts {
			dst, _ = p(dst, r)
		}
		return dst, true
	}, nil
}

func startTimePart(arg string) (operator, string, error) {
	if arg[0] != '%' {
		n := strings.IndexByte(arg, '%')
		if n < 0 {
			n = len(arg)
		}
		literal := arg[:n]
		return func(dst []byte, _ *Record) ([]byte, bool) { return append(dst, literal...), true }, arg[n:], nil
	}
	if strings.HasPrefix(arg, "%%") {
		return func(dst []byte, _ *Record) ([]byte, bool) { return append(dst, '%'), true }, arg[2:], nil
	}
	for _, c := range strftime {
		if !strings.HasPrefix(arg, c.conversion) {
			continue
		}
		if strings.HasSuffix(c.conversion, "f") {
			return fractionOperator(len(c.layout)), arg[len(c.conversion):], nil
		}
		return func(dst []byte, r *Record) ([]byte, bool) { return r.Start.UTC().AppendFormat(dst, c.layout), true },
			arg[len(c.conversion):], nil
	}
	return nil, "", fmt.Errorf("START_TIME has the conversion %.3q, which is not known", arg)
}

// fractionOperator renders the fraction of the second with the given digits.
func fractionOperator(digits int) operator {
	unit := int(time.Second)
	for range digits {
		unit /= 10
	}
	return func(dst []byte, r *Record) ([]byte, bool) {
		v := strconv.Itoa(r.Start.Nanosecond() / unit)
		for range digits - len(v) {
			dst = append(dst, '0')
		}
		return append(dst, v...), true
	}
}
