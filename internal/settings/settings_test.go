package settings

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/new.settings")

// mustParse parses a file that has to be good.
func mustParse(t testing.TB, data []byte) (*Settings, []Warning) {
	t.Helper()
	s, warnings, err := Parse(data, "config/settings")
	if err != nil {
		t.Fatal(err)
	}
	return s, warnings
}

func TestNewFileSaysTheDefaults(t *testing.T) {
	t.Parallel()
	got := Default(ClassFull, layout.Chunky).Render()
	const golden = "testdata/new.settings"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s, warnings := mustParse(t, got)
	defaults := Default(ClassFull, layout.Chunky)
	defaults.KeepClass = map[string]string{}
	if diff := cmp.Diff(defaults, s); diff != "" || len(warnings) > 0 {
		t.Errorf("%v (-default +parsed):\n%s", warnings, diff)
	}
}

// TestGoldenHomesHaveTheDefaultsOfTheOriginal shows that the defaults of a new
// home are the same here, but for the size of batches.
func TestGoldenHomesHaveTheDefaultsOfTheOriginal(t *testing.T) {
	t.Parallel()
	flushSoon := func(s *Settings) { s.Journal.FlushTransactionThreshold = 5 }
	changed := map[string]func(*Settings){
		"packed_twice":       func(s *Settings) { s.Storage.KeepPolicy = KeepUndoable },
		"quick_shutdown":     func(s *Settings) { flushSoon(s); s.Filesystem.QuickShutdown = true },
		"killed_plain":       flushSoon,
		"killed_in_snapshot": flushSoon,
		"minimal_journal":    flushSoon,
	}
	for _, home := range hometest.Names(t) {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			expected := hometest.Expected(t, home)
			files := hometest.Files(t, home)
			got, warnings := mustParse(t, files["config/settings"])
			want := Default(expected.Class, layout.Format(expected.Format))
			want.KeepClass = map[string]string{}
			// A new home has larger batches than the original made it with.
			want.Journal.FlushFileThreshold, want.Journal.FlushTransactionThreshold = 2000, 200
			if f := changed[home]; f != nil {
				f(want)
			}
			if diff := cmp.Diff(want, got); diff != "" || len(warnings) > 0 {
				t.Errorf("%v (-want +got):\n%s", warnings, diff)
			}
			if id, err := ParseIdentity(files["config/identity"]); err != nil || expected.Identity != "" && id != expected.Identity {
				t.Errorf("identity is %q, %v, want %q", id, err, expected.Identity)
			}
		})
	}
}

// newFile returns a new config/settings with lines replaced.
func newFile(oldNew ...string) []byte {
	return []byte(strings.NewReplacer(oldNew...).Replace(string(Default(ClassFull, layout.Bushy).Render())))
}

func TestValuesAreRead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		data []byte
		want func(*Settings)
	}{
		{"seconds", newFile("flush_interval: 3600", "flush_interval = 5"), func(s *Settings) { s.Journal.FlushInterval = 5 * time.Second }},
		{"too many seconds", newFile("delay_delete: 864000", "delay_delete: 99999999999"), func(s *Settings) { s.Storage.DelayDelete = math.MaxInt64 }},
		{"switched off", newFile("sync: 1\n", "sync: 0\n"), func(s *Settings) { s.Filesystem.Sync, s.POSIX.DirSync = false, false }},
		{"threshold of zero", newFile("threshold: 40000", "threshold: 0", "threshold: 4000\n", "threshold: 0\n", "backlog: 3", "backlog: 0"), func(s *Settings) {
			s.Journal.FlushFileThreshold, s.Journal.FlushTransactionThreshold, s.Journal.Backlog = 1, 1, 0
		}},
		{"Minimal", newFile("Full\n", "Minimal\n"), func(s *Settings) { s.Storage.ClassName = ClassMinimal }},
		{"old name of min_pack_time", newFile("min_pack_time: 600", "window_size: 700"), func(s *Settings) { s.Storage.MinPackTime = 700 * time.Second }},
		{"both names of min_pack_time", newFile("min_pack_time: 600", "min_pack_time: 650\nwindow_size: 700"), func(s *Settings) { s.Storage.MinPackTime = 650 * time.Second }},
		{"options that may be missing", newFile("min_pack_time: 600", "", "check_dangling_references: 1", "", "keep_policy: detailed", "", "dirsync: 1", "",
			"mark: permissions", "", "mark: attributes", "", "[windows]", "", "[keepclass]", ""), func(s *Settings) { s.KeepClass = nil }},
		{"value from DEFAULT", append(newFile("backlog: 3", ""), "[DEFAULT]\nbacklog: 7\n"...), func(s *Settings) { s.Journal.Backlog = 7 }},
		{"interpolation", newFile("backlog: 3", "backlog: %(flush_transaction_threshold)s"), func(s *Settings) { s.Journal.Backlog = 4000 }},
		{"value of two lines", newFile("permissions", "permissions\n\n  maybe"), func(s *Settings) { s.POSIX.Mark = "permissions\n\nmaybe" }},
		{"keepclass", append(newFile(), "a.b.C: forever\na.b.c: extra\n 30\n"...), func(s *Settings) {
			s.KeepClass = map[string]string{"a.b.C": "forever", "a.b.c": "extra 30"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, warnings := mustParse(t, tc.data)
			want := Default(ClassFull, layout.Bushy)
			want.KeepClass = map[string]string{}
			tc.want(want)
			if diff := cmp.Diff(want, got); diff != "" || len(warnings) > 0 {
				t.Errorf("%v (-want +got):\n%s", warnings, diff)
			}
			again, _ := mustParse(t, got.Render())
			if got.KeepClass == nil {
				again.KeepClass = nil
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("written and read again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "config/settings: [structure]: the section is missing"},
		{"no INI file", []byte("hello"), "config/settings line 1: it comes before the first [section]"},
		{"format", newFile("bushy\n", "bushy4\n"), `config/settings: [structure] format: "bushy4": unknown format "bushy4": want bundled, bushy, chunky, lawn or flat`},
		{"format missing", newFile("format: bushy", ""), "config/settings: [structure] format: the option is missing"},
		{"older version", newFile("0.11", "0.9"), `config/settings: [structure] version: "0.9": the home was made by an older release; this one reads version 0.11 only`},
		{"newer version", newFile("0.11", "0.12"), "newer than 0.11"},
		{"much newer version", newFile("0.11", "1.0"), "newer than 0.11"},
		{"strange version", newFile("0.11", "new"), "by another release"},
		{"version before all else", newFile("0.11", "0.12", "bushy\n", "oaktree\n"), "newer than 0.11"},
		{"version missing", newFile("version: 0.11", ""), "[structure] version: the option is missing"},
		{"class", newFile("Full\n", "full\n"), `config/settings: [storage] classname: "full": want Full or Minimal`},
		{"class missing", newFile("classname: Full", ""), "[storage] classname: the option is missing"},
		{"name in another case", newFile("classname", "className"), "[storage] classname: the option is missing"},
		{"number", newFile("backlog: 3", "backlog: three"), `config/settings: [journal] backlog: "three": want a number from 0 to 1000000000`},
		{"negative number", newFile("backlog: 3", "backlog: -3"), "want a number from 0"},
		{"large number", newFile("backlog: 3", "backlog: 1000000001"), "want a number from 0"},
		{"empty number", newFile("backlog: 3", "backlog:"), "want a number from 0"},
		{"seconds", newFile("flush_interval: 3600", "flush_interval: 1h"), `[journal] flush_interval: "1h": want a number of seconds, 0 or more`},
		{"old name of min_pack_time", newFile("min_pack_time: 600", "window_size: ten"), `[storage] window_size: "ten": want a number of seconds`},
		{"switch", newFile("sync: 1\n", "sync: yes\n"), `[filesystem] sync: "yes": want 0 or 1`},
		{"section missing", newFile("[filesystem]", "[files]"), "[filesystem]: the section is missing"},
		{"interpolation", newFile("backlog: 3", "backlog: 3%"), "[journal] backlog: a “%” must be followed by"},
		{"interpolation in keepclass", append(newFile(), "a.B: %(c)s\n"...), "[keepclass] a.B: it refers to the option \"c\", which does not exist"},
		{"option twice", newFile("backlog: 3", "backlog: 3\nbacklog: 3"), "[journal] backlog: the option comes twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, warnings, err := Parse(tc.data, "config/settings")
			if err == nil || s != nil || warnings != nil {
				t.Fatalf("got %+v, %v, %v", s, warnings, err)
			}
			_, ok := errors.AsType[*Error](err)
			_, newer := errors.AsType[*layout.NewerError](err)
			if ok == newer || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %s", err, tc.want)
			}
		})
	}
}

func TestEveryMandatoryOptionIsMissed(t *testing.T) {
	t.Parallel()
	for _, fd := range fields() {
		f, err := parseINI(newFile(), "config/settings")
		if err != nil {
			t.Fatal(err)
		}
		o := f.find(fd.section).find(fd.option)
		f.lines[o.first] = ""
		_, _, err = Parse([]byte(strings.Join(f.lines, "")), "config/settings")
		if (err == nil) != fd.optional {
			t.Errorf("without [%s] %s: %v", fd.section, fd.option, err)
		}
	}
}

func TestHarmlessMistakesAreWarnings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"option", newFile("backlog: 3", "backlog: 3\nBacklog: 100%"), `[journal] Backlog = "100%": the option is not known and has no effect`},
		{"section", append(newFile(), "[cache]\nsize: 5\n"...), "[cache]: the section is not known and has no effect"},
		{"keep_policy", newFile("detailed\n", "all\n"), `[storage] keep_policy = "all": want detailed or undoable; it is taken as detailed`},
		{"keepclass", append(newFile(), "a.B: Forever\n"...), `[keepclass] a.B = "Forever": "Forever": want “forever” or “extra DAYS”; it is ignored`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, warnings := mustParse(t, tc.data)
			if len(warnings) != 1 || warnings[0].String() != tc.want {
				t.Errorf("warnings are %v, want %s", warnings, tc.want)
			}
			want := Default(ClassFull, layout.Bushy)
			want.KeepClass = map[string]string{}
			if diff := cmp.Diff(want, s); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseKeep(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Keep{
		"forever": {Forever: true}, "extra 30": {Extra: 720 * time.Hour}, "extra  0": {}, "extra 106752": {Forever: true},
	} {
		if got, err := ParseKeep(text); got != want || err != nil {
			t.Errorf("ParseKeep(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "30", "extra", "extra -1", "extra 1.5", "extra 30 days", "never", "extra 99999999999999999999"} {
		if got, err := ParseKeep(text); err == nil || got != (Keep{}) {
			t.Errorf("ParseKeep(%q) = %+v, %v", text, got, err)
		}
	}
}

func TestUpdateChangesOneOptionOnly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, before, section, option, value, after string
	}{
		{"value", "# c\n[a]\nx: 1 \n# d\ny: 2\n", "a", "x", "3", "# c\n[a]\nx: 3\n# d\ny: 2\n"},
		{"sign and space stay", "[a]\n x  =   1\n", "a", "x", "3", "[a]\n x  =   3\n"},
		{"no value before", "[a]\nx:\n", "a", "x", "3", "[a]\nx: 3\n"},
		{"no value after", "[a]\nx: 3\n", "a", "x", "", "[a]\nx: \n"},
		{"continued", "[a]\nx: 1\n  2\n# c\n\n  3\ny: 2\n", "a", "x", "4", "[a]\nx: 4\n# c\ny: 2\n"},
		{"percent", "[a]\nx: 1\n", "a", "x", "100%(y)s", "[a]\nx: 100%%(y)s\n"},
		{"new option", "[a]\nx: 1\n\n# about b\n[b]\n", "a", "y", "2", "[a]\nx: 1\ny: 2\n\n# about b\n[b]\n"},
		{"new option in an empty section", "[a]\n# c\n[b]\n", "a", "y", "2", "[a]\ny: 2\n# c\n[b]\n"},
		{"new option among indented ones", "[a]\n  x: 1\n   2\n[b]\n", "a", "y", "2", "[a]\n  x: 1\n   2\n  y: 2\n[b]\n"},
		{"new section", "[a]\nx: 1\n", "b", "y", "2", "[a]\nx: 1\n\n[b]\ny: 2\n"},
		{"empty file", "", "b", "y", "2", "[b]\ny: 2\n"},
		{"no line end", "[a]\nx: 1", "a", "y", "2", "[a]\nx: 1\ny: 2\n"},
		{"no line end and new section", "[a]\nx: 1", "b", "y", "2", "[a]\nx: 1\n\n[b]\ny: 2\n"},
		{"windows", "[a]\r\nx: 1\r\n", "a", "x", "2", "[a]\r\nx: 2\r\n"},
		{"unknown options stay", "[a]\nwhat: 100%\nx: 1\n", "a", "x", "2", "[a]\nwhat: 100%\nx: 2\n"},
		{"DEFAULT", "[DEFAULT]\nx: 1\n[a]\n", "DEFAULT", "x", "2", "[DEFAULT]\nx: 2\n[a]\n"},
		{"own value over that of DEFAULT", "[DEFAULT]\nx: 1\n[a]\n", "a", "x", "2", "[DEFAULT]\nx: 1\n[a]\nx: 2\n"},
		{"name in another case", "[a]\nX: 1\n", "a", "x", "2", "[a]\nX: 1\nx: 2\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Update([]byte(tc.before), tc.section, tc.option, tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.after, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestUpdateRefusesWhatAFileCannotHold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, section, option, value string }{
		{"line end in the value", "a", "x", "1\n2"}, {"space around the value", "a", "x", " 1"}, {"line end in the name", "a", "x\ny", "1"},
		{"no section", "", "x", "1"}, {"no name", "a", "", "1"}, {"sign in the name", "a", "x=y", "1"}, {"name is a comment", "a", "#x", "1"},
		{"name is a section", "a", "[x]", "1"}, {"line end in the section", "a\n", "x", "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got, err := Update([]byte("[a]\nx: 0\n"), tc.section, tc.option, tc.value); err == nil {
				t.Errorf("got %q", got)
			}
		})
	}
	if _, err := Update([]byte("x"), "a", "x", "1"); err == nil {
		t.Error("a file that can't be read was changed")
	}
}

func TestUpdatedFileIsParsed(t *testing.T) {
	t.Parallel()
	data, err := Update(newFile("backlog: 3", "backlog: 3\nold_option: 5"), "journal", "flush_interval", "60")
	if err != nil {
		t.Fatal(err)
	}
	s, warnings := mustParse(t, data)
	if s.Journal.FlushInterval != time.Minute || len(warnings) != 1 || warnings[0].Option != "old_option" {
		t.Errorf("%v, %v", s.Journal, warnings)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	id, err := NewIdentity(bytes.NewReader([]byte("\x00\x01\xfe\xff0123456789ab")))
	if want := "0001feff303132333435363738396162"; id != want || err != nil {
		t.Errorf("NewIdentity = %q, %v, want %q", id, err, want)
	}
	if id, err := NewIdentity(strings.NewReader("short")); err == nil {
		t.Errorf("NewIdentity of too few bytes = %q", id)
	}
	for _, text := range []string{id, id + "\n", "  " + id + " \r\nsecond line", strings.ToUpper(id)} {
		if got, err := ParseIdentity([]byte(text)); !strings.EqualFold(got, id) || err != nil {
			t.Errorf("ParseIdentity(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "\n" + id, id[1:], id + "0", id + "00", "g" + id[1:]} {
		if got, err := ParseIdentity([]byte(text)); got != "" || err == nil {
			t.Errorf("ParseIdentity(%q) = %q, %v", text, got, err)
		}
	}
}

func TestSnapshotConf(t *testing.T) {
	t.Parallel()
	direct := SnapshotMethod{Kind: MethodDirect}
	socket := SnapshotMethod{Kind: MethodSocket}
	http := SnapshotMethod{Kind: MethodHTTP, URL: "http://localhost:8080/DirectoryStorageSnapshotController", AccessFile: "snapshot.access"}
	httpLine := "http " + http.URL + " " + http.AccessFile
	for _, tc := range []struct {
		name, text string
		want       []SnapshotMethod
		problems   []string
	}{
		{"no file", "", []SnapshotMethod{direct}, nil},
		{"comments", "# c\n\n  # d\n", []SnapshotMethod{direct}, nil},
		{"http", httpLine + "\n", []SnapshotMethod{http, direct}, nil},
		{"in order", "socket\r\n\t" + httpLine, []SnapshotMethod{socket, http, direct}, nil},
		{"direct first", "direct\nsocket\n", []SnapshotMethod{direct, socket, direct}, nil},
		{"direct last", "socket\ndirect\n", []SnapshotMethod{socket, direct}, nil},
		{"nodirect", "nodirect\nsocket\n", []SnapshotMethod{socket}, nil},
		{"nodirect and direct", "direct\nnodirect\n", []SnapshotMethod{direct}, nil},
		{"nodirect alone", "nodirect\n", nil, nil},
		{"malformed", "http x\nhttp localhost:8080 f\nftp://x\nsocket /tmp/s\n" + httpLine + "\nnodirect please\n", []SnapshotMethod{http, direct}, []string{
			"line 1: want “http URL ACCESSFILE”",
			`line 2: "localhost:8080" is not an http or https URL`,
			`line 3: unknown method "ftp://x": want http, socket, direct or nodirect`,
			"line 4: nothing may follow “socket”",
			`line 6: unknown method "nodirect": want http, socket, direct or nodirect`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, problems := ParseSnapshotConf([]byte(tc.text))
			if diff := cmp.Diff(tc.want, got) + cmp.Diff(tc.problems, problems); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
