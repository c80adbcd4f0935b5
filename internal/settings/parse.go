package settings

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
)

const (
	keepClass  = "keepclass"
	windowSize = "window_size" // name of min_pack_time in very old homes
)

// maxCount bounds counts, so that products of two of them fit an int64.
const maxCount = 1_000_000_000

// Warning tells about something in a file that does no harm but has no effect.
type Warning struct {
	Section string
	Option  string // empty: it is about the section
	Value   string // as in the file
	Text    string
}

// String returns it as one line without the file's name.
func (w Warning) String() string {
	if w.Option == "" {
		return fmt.Sprintf("[%s]: %s", w.Section, w.Text)
	}
	return fmt.Sprintf("[%s] %s = %q: %s", w.Section, w.Option, w.Value, w.Text)
}

// Parse reads config/settings; the path is for errors, which are *Error. A
// mandatory option that is missing, a value that can't be read, and another
// structure/version are errors; a newer one is a *layout.NewerError. An unknown option, or a bad value
// where the default is harmless, is a warning.
//
// Numbers are decimal. A time too long for a time.Duration (292 years) is cut to
// that. A threshold of 0 reads as 1: both start a flush at each transaction.
func Parse(data []byte, path string) (*Settings, []Warning, error) {
	f, err := parseINI(data, path)
	if err != nil {
		return nil, nil, err
	}
	if err := checkVersion(f); err != nil {
		return nil, nil, err
	}
	r := reader{ini: f, s: optional()}
	for _, fd := range fields() {
		if err := r.field(fd); err != nil {
			return nil, nil, err
		}
	}
	if err := r.keepClasses(); err != nil {
		return nil, nil, err
	}
	j := &r.s.Journal
	j.FlushFileThreshold, j.FlushTransactionThreshold = max(1, j.FlushFileThreshold), max(1, j.FlushTransactionThreshold)
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	r.unknown()
	return r.s, r.warnings, nil
}

// checkVersion comes first: in a home of another version everything else may
// have another meaning.
func checkVersion(f *ini) error {
	v, ok, err := f.get("structure", "version")
	if err != nil {
		return err
	}
	if !ok {
		return f.missing("structure", "version")
	}
	if v == homeVersion {
		return nil
	}
	if err := CheckNewer(v); err != nil {
		err.Path = f.path + ": [structure] version"
		return err
	}
	age := "another"
	if _, _, ok := splitVersion(v); ok {
		age = "an older"
	}
	return &Error{Path: f.path, Section: "structure", Option: "version",
		Reason: fmt.Sprintf("%q: the home was made by %s release; this one reads version %s only", v, age, homeVersion)}
}

// CheckNewer returns an error if a structure/version, with which backups are marked, too, is newer than
// the one that this program knows. One that is not a version is not newer.
func CheckNewer(version string) *layout.NewerError {
	major, minor, ok := splitVersion(version)
	if knownMajor, knownMinor, _ := splitVersion(homeVersion); !ok || major < knownMajor || major == knownMajor && minor <= knownMinor {
		return nil
	}
	return &layout.NewerError{Kind: "HOME", Version: version, Known: homeVersion}
}

func splitVersion(v string) (major, minor uint64, ok bool) {
	a, b, ok := strings.Cut(v, ".")
	if !ok {
		return 0, 0, false
	}
	major, err := strconv.ParseUint(a, 10, 32)
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.ParseUint(b, 10, 32)
	return major, minor, err == nil
}

// missing makes the error about an option that is mandatory.
func (f *ini) missing(sectionName, name string) error {
	if f.find(sectionName) == nil {
		return &Error{Path: f.path, Section: sectionName, Reason: "the section is missing"}
	}
	return &Error{Path: f.path, Section: sectionName, Option: name, Reason: "the option is missing"}
}

// reader fills Settings from a file.
type reader struct {
	*ini
	s        *Settings
	warnings []Warning
}

func (r *reader) field(fd field) error {
	name := fd.option
	value, ok, err := r.get(fd.section, name)
	if err == nil && !ok && name == "min_pack_time" {
		name = windowSize
		value, ok, err = r.get(fd.section, name)
	}
	if err != nil {
		return err
	}
	if !ok {
		if fd.optional {
			return nil
		}
		return r.missing(fd.section, fd.option)
	}
	if reason := set(fd.at(r.s), value); reason != "" {
		return r.wrong(fd.section, name, value, reason)
	}
	return nil
}

func (r *reader) wrong(sectionName, name, value, reason string) error {
	return &Error{Path: r.path, Section: sectionName, Option: name, Reason: fmt.Sprintf("%q: %s", value, reason)}
}

// set reads a value into where at points. It returns the fault, empty if there is none.
func set(at any, value string) string {
	switch at := at.(type) {
	case *string:
		*at = value
	case *layout.Format:
		f, err := layout.ParseFormat(value)
		if err != nil {
			return err.Error()
		}
		*at = f
	case *bool:
		if value != "0" && value != "1" {
			return "want 0 or 1"
		}
		*at = value == "1"
	case *int:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n > maxCount {
			return fmt.Sprintf("want a number from 0 to %d", maxCount)
		}
		*at = int(n)
	case *time.Duration:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return "want a number of seconds, 0 or more"
		}
		*at = math.MaxInt64
		if n < uint64(math.MaxInt64/time.Second) {
			*at = time.Duration(n) * time.Second
		}
	}
	return ""
}

// check looks at values that are texts to the reader.
func (r *reader) check() error {
	st := &r.s.Storage
	if st.ClassName != ClassFull && st.ClassName != ClassMinimal {
		return r.wrong("storage", "classname", st.ClassName, fmt.Sprintf("want %s or %s", ClassFull, ClassMinimal))
	}
	if st.ClassName == ClassMinimal && r.s.Structure.Format == layout.Bundled {
		return r.wrong("storage", "classname", st.ClassName, "a home of the format bundled is always of class Full")
	}
	if st.Python != 2 && st.Python != 3 {
		r.warn("storage", "python", strconv.Itoa(st.Python), "want 2 or 3; it is taken as 3")
		st.Python = 3
	}
	if st.KeepPolicy != keepDetailed && st.KeepPolicy != KeepUndoable {
		r.warn("storage", "keep_policy", st.KeepPolicy, fmt.Sprintf("want %s or %s; it is taken as %s", keepDetailed, KeepUndoable, keepDetailed))
		st.KeepPolicy = keepDetailed
	}
	return nil
}

func (r *reader) warn(sectionName, name, value, text string) {
	r.warnings = append(r.warnings, Warning{sectionName, name, value, text})
}

// keepClasses reads section keepclass, which may be missing. A value that can't
// be read is ignored, as the original does.
func (r *reader) keepClasses() error {
	s := r.find(keepClass)
	if s == nil {
		return nil
	}
	r.s.KeepClass = make(map[string]string)
	for _, o := range s.options {
		value, _, err := r.get(keepClass, o.name)
		if err != nil {
			return err
		}
		if _, err := ParseKeep(value); err != nil {
			r.warn(keepClass, o.name, value, err.Error()+"; it is ignored")
			continue
		}
		r.s.KeepClass[o.name] = strings.Join(strings.Fields(value), " ")
	}
	return nil
}

// unknown warns about sections and options that mean nothing here.
func (r *reader) unknown() {
	known := map[string][]string{"storage": {windowSize}}
	for _, fd := range fields() {
		known[fd.section] = append(known[fd.section], fd.option)
	}
	for _, s := range r.sections {
		if s.name == keepClass || s.name == defaultSection {
			continue
		}
		if known[s.name] == nil {
			r.warn(s.name, "", "", "the section is not known and has no effect")
			continue
		}
		for _, o := range s.options {
			if !slices.Contains(known[s.name], o.name) {
				r.warn(s.name, o.name, o.value, "the option is not known and has no effect")
			}
		}
	}
}

// Keep says how long pack keeps old revisions of a class of objects.
type Keep struct {
	Forever bool
	Extra   time.Duration // if not for ever: so much longer than others
}

// ParseKeep reads a value of section keepclass: “forever”, or “extra DAYS”.
func ParseKeep(value string) (Keep, error) {
	if value == "forever" {
		return Keep{Forever: true}, nil
	}
	words := strings.Fields(value)
	if len(words) == 2 && words[0] == "extra" {
		if days, err := strconv.ParseUint(words[1], 10, 64); err == nil {
			const day = 24 * time.Hour
			if days > uint64(math.MaxInt64/day) {
				return Keep{Forever: true}, nil // 292 years
			}
			return Keep{Extra: time.Duration(days) * day}, nil
		}
	}
	return Keep{}, fmt.Errorf("%q: want “forever” or “extra DAYS”", value)
}
