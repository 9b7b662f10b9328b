package route

import (
	"bytes"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

var cookieName = header.NewName("cookie")

// Hash computes what ring hash and maglev choose by; ok is false when no policy applied. When a policy asks for a cookie
// that the request lacks, cookie is that policy and the hash includes newCookie, whose value the caller must set on the
// response. It allocates only for regex rewrites.
func Hash(policies []plan.HashPolicy, in *Input, newCookie []byte) (hash uint64, ok bool, cookie *plan.HashPolicy) {
	for i := range policies {
		p := &policies[i]
		v, has := hashValue(p, in)
		if !has && p.Kind == plan.HashCookie && p.HasTTL {
			v, has, cookie = newCookie, true, p
		}
		if !has {
			continue
		}
		hash = bits.RotateLeft64(hash, 1) ^ xxhash.Sum64(v)
		if ok = true; p.Terminal {
			break
		}
	}
	return hash, ok, cookie
}

func hashValue(p *plan.HashPolicy, in *Input) ([]byte, bool) {
	switch p.Kind {
	case plan.HashHeader:
		v, ok := p.Header.Of(in.Head)
		if ok && p.Regex != nil {
			v = p.Regex.ReplaceAll(v, []byte(p.Substitution))
		}
		return v, ok
	case plan.HashCookie:
		all, _ := in.Head.Header(cookieName)
		return Cookie(all, p.Name)
	case plan.HashQuery:
		_, query := split(in.Head.Path())
		return queryValue(query, p.Name)
	case plan.HashSourceIP:
		if !in.Conn.Remote.IsValid() {
			return nil, false
		}
		a := in.Conn.Remote.Unmap().As16()
		return a[:], true
	}
	return nil, false
}

// Cookie finds a cookie in the value of a cookie header.
func Cookie(all []byte, name string) ([]byte, bool) {
	for len(all) > 0 {
		pair := all
		if i := bytes.IndexAny(all, ";,"); i >= 0 {
			pair, all = all[:i], all[i+1:]
		} else {
			all = nil
		}
		pair = bytes.TrimSpace(pair)
		if i := bytes.IndexByte(pair, '='); i >= 0 && string(pair[:i]) == name {
			return bytes.Trim(pair[i+1:], `"`), true
		}
	}
	return nil, false
}
