package hcm

import (
	"testing"

	"lateen.dev/lateen/proxy/plan"
)

func TestNormalizePath(t *testing.T) {
	normal := plan.PathNormalization{Normalize: true}
	merge := plan.PathNormalization{Normalize: true, MergeSlashes: true}
	for _, tc := range []struct {
		cfg     plan.PathNormalization
		in, out string
		verdict pathVerdict
	}{
		{normal, "/a/b?c=/../d", "", pathKept},
		{normal, "/a/./b/../c?x", "/a/c?x", pathChanged},
		{normal, "/a/..", "/", pathChanged},
		{normal, "/a/b/.", "/a/b/", pathChanged},
		{normal, "/..", "", pathRejected},
		{normal, "/%2e%2E/admin", "", pathRejected},
		{normal, "/%61dmin%2Fx", "/admin%2Fx", pathChanged},
		{normal, "/a\\b", "/a/b", pathChanged},
		{normal, "/a//b", "", pathKept},
		{merge, "//a///b//", "/a/b/", pathChanged},
		{plan.PathNormalization{EscapedSlashes: plan.RejectRequest}, "/a%2fb", "", pathRejected},
		{plan.PathNormalization{EscapedSlashes: plan.UnescapeAndForward}, "/a%2fb%5Cc", "/a/b/c", pathChanged},
		{plan.PathNormalization{EscapedSlashes: plan.UnescapeAndRedirect}, "/a%2fb", "/a/b", pathRedirect},
	} {
		got, verdict := normalizePath([]byte("pre"), []byte(tc.in), &tc.cfg)
		if verdict != tc.verdict || (verdict == pathChanged || verdict == pathRedirect) && string(got) != "pre"+tc.out {
			t.Errorf("%q: %q, verdict %d; want %q, %d", tc.in, got, verdict, tc.out, tc.verdict)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	f.Add("/a/../b%2f?c")
	f.Fuzz(func(t *testing.T, in string) {
		if in == "" || in[0] != '/' {
			return
		}
		cfg := plan.PathNormalization{Normalize: true, MergeSlashes: true}
		once, verdict := normalizePath(nil, []byte(in), &cfg)
		if verdict != pathChanged {
			return
		}
		if len(once) == 0 || once[0] != '/' {
			t.Errorf("%q became %q", in, once)
		}
	})
}
