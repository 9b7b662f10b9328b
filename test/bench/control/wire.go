package main

import (
	"errors"
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protowire"
)

// response is what a client needs of a response of either protocol. It points
// into the response's bytes.
type response struct {
	typeURL, version, nonce string
	resources               []body
	removed                 []string
}

// body is a resource's name and marshalled message.
type body struct {
	name    string
	version string // delta only
	value   []byte
	// wrapped says that value is a discovery.v3.Resource.
	wrapped bool
	// kind is what the value says that it is, -1 if nothing that is known here.
	kind int
	// sum is the hash of value, once it is known.
	sum uint64
	// known is what the value says; nil if that has not been looked at.
	known *known
}

var errMalformed = errors.New("malformed response")

// fields calls f for each length-delimited field of a message. Others are
// passed over.
func fields(b []byte, f func(number protowire.Number, value []byte)) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return errMalformed
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errMalformed
		}
		f(number, value)
		b = b[n:]
	}
	return nil
}

// parseDelta reads a DeltaDiscoveryResponse, parseSotW a DiscoveryResponse. A
// resource that came before, to this client or to another, byte by byte, is not
// taken apart again.
func parseDelta(b []byte, c *catalog) (*response, error) {
	r := &response{}
	var inner error
	err := fields(b, func(number protowire.Number, value []byte) {
		switch number {
		case 1:
			r.version = string(value)
		case 2:
			one, err := c.body(value, (*body).resource)
			if err != nil {
				inner = err
			}
			r.resources = append(r.resources, one)
		case 4:
			r.typeURL = string(value)
		case 5:
			r.nonce = string(value)
		case 6:
			r.removed = append(r.removed, string(value))
		}
	})
	return r, errors.Join(err, inner)
}

func parseSotW(b []byte, c *catalog) (*response, error) {
	r := &response{}
	var inner error
	err := fields(b, func(number protowire.Number, value []byte) {
		switch number {
		case 1:
			r.version = string(value)
		case 2:
			one, err := c.body(value, (*body).world)
			if err != nil {
				inner = err
			}
			r.resources = append(r.resources, one)
		case 4:
			r.typeURL = string(value)
		case 5:
			r.nonce = string(value)
		}
	})
	return r, errors.Join(err, inner)
}

// take reads a field of an Any.
func (o *body) take(number protowire.Number, value []byte) {
	switch number {
	case 1:
		o.wrapped = string(value) == "type.googleapis.com/envoy.service.discovery.v3.Resource"
		o.kind = kindOf(string(value))
	case 2:
		o.value = value
	}
}

// world reads an Any of a state-of-the-world response.
func (o *body) world(b []byte) error {
	if err := fields(b, o.take); err != nil {
		return err
	}
	if o.wrapped {
		return o.resource(o.value)
	}
	// The name is field 1 of every other kind that is served here.
	return fields(o.value, func(number protowire.Number, value []byte) {
		if number == 1 && o.name == "" {
			o.name = string(value)
		}
	})
}

// resource reads a discovery.v3.Resource.
func (o *body) resource(b []byte) (err error) {
	outer := fields(b, func(number protowire.Number, value []byte) {
		switch number {
		case 1:
			o.version = string(value)
		case 2:
			err = fields(value, o.take)
		case 3:
			o.name = string(value)
		}
	})
	return errors.Join(outer, err)
}

// seed makes hashes that are compared within this process only.
var seed = maphash.MakeSeed()

// hash tells bodies apart; it is never 0, which means none.
func hash(b []byte) uint64 { return maphash.Bytes(seed, b) | 1 }
