package human

import (
	"testing"
)

func TestPluralHasTheVerbOfItsNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 objects were", 1: "1 object was", 2: "2 objects were", 22740: "22,740 objects were"} {
		if got := Plural(n, "object was", "objects were"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
