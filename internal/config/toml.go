package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// storageKeys are the keys of a [[storage]].
var storageKeys = []string{"name", "home", "blob-dir", "backup-repository", "read-only", "pack-gc"}

// readTOML adds the layer of the TOML file, if one is named.
func (l *loader) readTOML() {
	path, source := l.text("config")
	if path == "" {
		return
	}
	data, err := l.readFile(path)
	if err != nil {
		l.fail(&Error{Where: source, What: "the configuration file can't be read", Err: err})
		return
	}
	var doc map[string]any
	if _, err := toml.Decode(string(data), &doc); err != nil {
		e := &Error{Where: path, What: err.Error()}
		if p, ok := errors.AsType[toml.ParseError](err); ok {
			e.Where = fmt.Sprintf("%s:%d", path, p.Position.Line)
			e.What = "this is not TOML: " + p.Message
			if strings.Contains(p.Message, "has already been defined") {
				e.What = p.Message
			}
		}
		l.fail(e)
		return
	}
	f := tomlFile{path: path, lines: keyLines(string(data))}
	found := make(layer)
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		if key == "storage" {
			l.fileStorages = l.tomlStorages(f, doc[key])
			continue
		}
		s, ok := l.inFile(key)
		if !ok {
			l.fail(f.unknown(l.settings, key))
			continue
		}
		values, err := tomlValues(s, doc[key])
		if err != nil {
			l.fail(&Error{Where: f.at(key), What: key + ": " + err.Error()})
			continue
		}
		found[key] = value{values, f.at(key)}
	}
	l.layers = append(l.layers, found)
}

// inFile finds a setting that may be in the TOML file.
func (l *loader) inFile(key string) (setting, bool) {
	for _, s := range l.settings {
		if s.name == key {
			return s, !s.notInFile && !s.onlyEnvironment
		}
	}
	return setting{}, false
}

// tomlValues is a value as text. A single value may stand for a list.
func tomlValues(s setting, v any) ([]string, error) {
	if list, ok := v.([]any); ok && s.list {
		var values []string
		for _, item := range list {
			t, err := tomlText(item)
			if err != nil {
				return nil, err
			}
			values = append(values, t)
		}
		return values, nil
	}
	if _, ok := v.(bool); ok && s.kind != boolean {
		return nil, fmt.Errorf("want no true or false")
	}
	t, err := tomlText(v)
	return []string{t}, err
}

func tomlText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", errors.New("want one string, number, or true or false")
}

// tomlStorages reads [[storage]].
func (l *loader) tomlStorages(f tomlFile, v any) []namedStorage {
	tables, ok := v.([]map[string]any)
	if !ok {
		l.fail(&Error{Where: f.at("storage"), What: "storage is not a list of tables", Do: "write [[storage]], and below it name and home"})
		return nil
	}
	var list []namedStorage
	for i, t := range tables {
		table := "storage#" + strconv.Itoa(i)
		s := namedStorage{source: f.at(table)}
		for _, key := range slices.Sorted(maps.Keys(t)) {
			at := f.at(table + "." + key)
			text, err := tomlText(t[key])
			switch key {
			case "name":
				s.Name = text
			case "home":
				s.Home = text
			case "blob-dir":
				s.BlobDir = text
			case "backup-repository":
				s.Repository = text
			case "read-only":
				if err == nil {
					s.ReadOnly, err = parseBool(text)
				}
			case "pack-gc":
				if err == nil {
					var gc bool
					gc, err = parseBool(text)
					s.NoGC = !gc
				}
			default:
				err = nil
				l.fail(&Error{Where: at, What: fmt.Sprintf("[[storage]] has no %q", key), Do: f.advice(key, storageKeys) + f.above(l.settings, key)})
			}
			if err != nil {
				l.fail(&Error{Where: at, What: key + ": " + err.Error()})
			}
		}
		list = append(list, s)
	}
	return list
}

// tomlFile tells where something is in a file.
type tomlFile struct {
	path  string
	lines map[string]int
}

func (f tomlFile) at(key string) string {
	if n, ok := f.lines[key]; ok {
		return fmt.Sprintf("%s:%d", f.path, n)
	}
	return f.path
}

// unknown is the error about a key that is no setting.
func (f tomlFile) unknown(settings []setting, key string) *Error {
	var names []string
	for _, s := range settings {
		if s.name == key && s.onlyEnvironment {
			return &Error{Where: f.at(key), What: key + " does not belong into a file that others read", Do: "use " + key + "-file, or " + s.environment() + " in the environment"}
		}
		if s.name == key {
			return &Error{Where: f.at(key), What: key + " can't be set in the configuration file itself", Do: "use the flag --" + key + " or " + s.environment()}
		}
		if !s.onlyEnvironment && !s.notInFile {
			names = append(names, s.name)
		}
	}
	return &Error{Where: f.at(key), What: fmt.Sprintf("there is no setting %q", key), Do: f.advice(key, names)}
}

func (f tomlFile) advice(key string, names []string) string {
	if n := nearest(key, names); n != "" {
		return "did you mean " + n + "?"
	}
	return "dirstorage config shows all settings"
}

// above explains a mistake that is easily made: after [[storage]], all keys belong to it.
func (f tomlFile) above(settings []setting, key string) string {
	if slices.ContainsFunc(settings, func(s setting) bool { return s.name == key }) {
		return " (settings of the server stand above the first [[storage]])"
	}
	return ""
}

// keyLines finds the lines of the keys: "listen", "storage#0", "storage#0.name". The
// parser has checked the text; here a line in a string of several lines may pass for a key
// at worst, and a place in a message is wrong.
func keyLines(text string) map[string]int {
	lines := make(map[string]int)
	note := func(key string, line int) {
		if _, ok := lines[key]; !ok {
			lines[key] = line
		}
	}
	prefix, storages, number := "", 0, 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[[") {
			name := unquoted(strings.TrimPrefix(before(line, "]]"), "[["))
			prefix = name + "."
			if name == "storage" {
				prefix = "storage#" + strconv.Itoa(storages) + "."
				note(strings.TrimSuffix(prefix, "."), number)
				storages++
			}
			note(name, number)
		} else if strings.HasPrefix(line, "[") && !strings.Contains(before(line, "#"), "=") {
			name := unquoted(strings.TrimPrefix(before(line, "]"), "["))
			prefix = name + "."
			note(before(name, "."), number)
		} else if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			key = unquoted(key)
			note(prefix+key, number)
			note(prefix+before(key, "."), number)
		}
	}
	return lines
}

func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}

func unquoted(s string) string { return strings.Trim(strings.TrimSpace(s), `"'`) }
