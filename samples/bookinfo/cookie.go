package bookinfo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

const (
	cookieName = "session"
	maxUser    = 256
)

// seal makes the value of a session cookie: the user's name and a signature.
// Anybody may sign in as anybody; the signature only keeps the name intact.
func seal(key []byte, user string) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(user)) + "." + enc.EncodeToString(sign(key, user))
}

// unseal returns the user's name, "" when the value is not one of ours.
func unseal(key []byte, value string) string {
	name, sig, ok := strings.Cut(value, ".")
	if !ok || len(value) > 4*maxUser {
		return ""
	}
	user, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return ""
	}
	got, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || !hmac.Equal(got, sign(key, string(user))) {
		return ""
	}
	return strings.Map(printable, string(user))
}

// printable keeps a name fit for a header.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

func sign(key []byte, user string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(user))
	return mac.Sum(nil)
}
