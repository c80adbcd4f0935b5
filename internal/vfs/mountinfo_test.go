package vfs

import (
	"slices"
	"testing"
)

func TestParseMounts(t *testing.T) {
	t.Parallel()
	const text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro\n" +
		"36 22 0:31 / /srv/a\\040b rw,noatime master:1 - nfs4 server:/export/x rw,vers=4.2,soft\n" +
		"not a line\n" +
		"40 22 0:40 /sub /srv rw - overlay overlay rw,volatile\n" +
		"41 40 0:41 / /srv ro - tmpfs none\n"
	for _, tc := range []struct {
		name   string
		number uint64
		point  string
		want   Mount
		known  bool
	}{
		{"by number", 40, "/elsewhere", Mount{"/srv", "overlay", "overlay", []string{"rw", "rw", "volatile"}}, true},
		{"the last one at a point", 0, "/srv", Mount{"/srv", "tmpfs", "none", []string{"ro"}}, true},
		{"escapes", 0, "/srv/a b", Mount{"/srv/a b", "nfs4", "server:/export/x", []string{"rw", "noatime", "rw", "vers=4.2", "soft"}}, true},
		{"unknown number", 99, "/srv", Mount{}, false},
		{"unknown point", 0, "/nowhere", Mount{}, false},
	} {
		got, known := parseMounts(text, tc.number, tc.point)
		if known != tc.known || got.Point != tc.want.Point || got.Type != tc.want.Type || got.Source != tc.want.Source || !slices.Equal(got.Options, tc.want.Options) {
			t.Errorf("%s: %+v, %t", tc.name, got, known)
		}
	}
	if got := unescapeMount(`a\134b\9c\`); got != `a\b\9c\` {
		t.Errorf("unescaped: %q", got)
	}
	if m := (Mount{Options: []string{"rw", "soft"}}); !m.Has("nolock", "soft") || m.Has("nolock") {
		t.Error("Has")
	}
}
