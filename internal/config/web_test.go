package config

import (
	"strings"
	"testing"
)

func TestPagesAreOffUnlessAskedForAndNeverWithoutAKey(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	if c := (world{home: "/h", env: map[string]string{"DIRSTORAGE_WEB_TOKEN": "short"}}).mustLoad(t); c.Web.On {
		t.Error("they are on by themselves")
	}
	with := []string{"--web", "--http-listen=:9818"}
	tls := []string{"--tls-certificate=c", "--tls-authenticate=a"}
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want string // empty: it is right
	}{
		{"token in the environment", with, map[string]string{"DIRSTORAGE_WEB_TOKEN": token}, ""},
		{"token in a file", append(with, "--web-token-file=t"), nil, ""},
		{"certificates", append(append(with, tls...), "--http-tls"), nil, ""},
		{"nothing", with, nil, "needs a token, or client certificates"},
		{"TLS for other clients only", append(with, tls...), nil, "needs a token, or client certificates"},
		{"no address", []string{"--web", "--web-token-file=t"}, nil, "web needs an address; set http-listen"},
		{"both", append(with, "--web-token-file=t"), map[string]string{"DIRSTORAGE_WEB_TOKEN": token}, "is given twice"},
		{"short", with, map[string]string{"DIRSTORAGE_WEB_TOKEN": token[1:]}, "15 characters: want 16"},
		{"no certificate", []string{"--http-tls"}, nil, "http-tls needs a certificate"},
		{"origin", append(with, "--web-token-file=t", "--web-origin=https://a.example:444", "--web-origin=http://b"), nil, ""},
		{"origin with a path", append(with, "--web-token-file=t", "--web-origin=https://a.example/x"), nil, "want https://NAME"},
		{"origin without a scheme", append(with, "--web-token-file=t", "--web-origin=a.example"), nil, "want https://NAME"},
		{"a change", append(with, "--web-token-file=t", "--web-allow=pack"), nil, ""},
		{"downloads", append(with, "--web-token-file=t", "--web-allow=blobs"), nil, ""},
		{"another change", append(with, "--web-token-file=t", "--web-allow=delete"), nil, `"delete": want pack or blobs`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := (world{home: "/h", args: tc.args, env: tc.env}).load(t)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestTokenIsNeverShown(t *testing.T) {
	t.Parallel()
	c := (world{home: "/h", env: map[string]string{"DIRSTORAGE_WEB_TOKEN": "0123456789abcdef"}}).mustLoad(t)
	for _, s := range c.Settings() {
		if strings.Contains(s.Value, "0123") {
			t.Errorf("%s: %s", s.Name, s.Value)
		}
	}
}
