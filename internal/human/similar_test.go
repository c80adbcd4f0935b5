package human

import "testing"

func TestSimilarWords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		word, known string
		want        bool
	}{
		{"serv", "serve", true}, {"serve", "serve", true}, {"sevre", "serve", true}, {"servee", "serve", true}, {"Serve", "serve", true},
		{"improt", "import", true}, {"exprot", "export", true}, {"pakc", "pack", true}, {"statsu", "status", true}, {"chekc", "check", true},
		{"max_message", "max-message", true}, {"transaction-timout", "transaction-timeout", true}, {"keeep", "keep", true},
		{"ls", "log", false}, {"gc", "log", false}, {"x", "gc", false}, {"nosuch", "show", false}, {"import", "export", false},
		{"", "log", false}, {"log", "", false}, {"undelete", "bench", false},
	} {
		if got := Similar(tc.word, tc.known); got != tc.want {
			t.Errorf("Similar(%q, %q) is %t", tc.word, tc.known, got)
		}
		if distance(tc.word, tc.known) != distance(tc.known, tc.word) {
			t.Errorf("the distance of %q and %q is not that of %q and %q", tc.word, tc.known, tc.known, tc.word)
		}
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("the distance of kitten and sitting is %d", d)
	}
}
